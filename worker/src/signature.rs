//! Signatures such as `square(n, seconds?)`: what a function is called and what it takes.

/// A parsed signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    /// As it was written.
    pub(crate) text: String,
    /// The name to call the function by.
    pub(crate) name: String,
    /// In order, those that may be missing last.
    pub(crate) parameters: Vec<Parameter>,
    /// Any number of further arguments may follow the parameters.
    pub(crate) open: bool,
    /// The parameters are written out, in parentheses.
    pub(crate) listed: bool,
}

/// A parameter of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parameter {
    /// `None` if the signature is a name alone.
    pub(crate) name: Option<String>,
    /// It may be missing.
    pub(crate) optional: bool,
}

/// Why a text is not a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SignatureError {
    #[error("the signature `{0}` has no name")]
    NoName(String),
    #[error("the signature `{0}` has no `)` at its end")]
    Unclosed(String),
    #[error("in the signature `{text}` `{word}` is not a name: use letters, digits, `_`, `-`, `.`")]
    NotAName { text: String, word: String },
    #[error("in the signature `{text}` the parameter `{name}` stands twice")]
    Twice { text: String, name: String },
    #[error("in the signature `{text}` `{name}` must not follow a parameter that may be missing")]
    RequiredAfterOptional { text: String, name: String },
    #[error("in the signature `{0}` nothing can follow `...`")]
    AfterRest(String),
}

impl Signature {
    /// Reads `name`, `name()`, `name(a, b?)` and `name(a, ...)`.
    pub(crate) fn parse(text: &str) -> Result<Self, SignatureError> {
        let owned = || text.to_owned();
        let (name, list) = match text.split_once('(') {
            None => (text, None),
            Some((name, rest)) => match rest.strip_suffix(')') {
                Some(list) => (name, Some(list)),
                None => return Err(SignatureError::Unclosed(owned())),
            },
        };
        if name.is_empty() {
            return Err(SignatureError::NoName(owned()));
        }
        check_name(text, name)?;
        let (parameters, open) = parse_parameters(text, list.unwrap_or("..."))?;
        let (text, name) = (owned(), name.to_owned());
        Ok(Self { text, name, parameters, open, listed: list.is_some() })
    }

    /// The parameters as they were written, such as `(n, seconds?)`; empty for a name alone.
    pub(crate) fn parameters_text(&self) -> &str {
        self.text.strip_prefix(self.name.as_str()).unwrap_or_default()
    }

    /// How many arguments the function takes, in words.
    pub(crate) fn count_text(&self) -> String {
        let most = self.parameters.len();
        let least = self.parameters.iter().filter(|parameter| !parameter.optional).count();
        match (least, most, self.open) {
            (0, _, true) => "any arguments".to_owned(),
            (least, _, true) => format!("at least {}", arguments(least)),
            (least, most, false) if least == most => arguments(most),
            (least, most, false) => format!("{least} to {}", arguments(most)),
        }
    }

    /// Argument `position`, counted from 0, in words: `argument 2 (`seconds`)`.
    pub(crate) fn argument_text(&self, position: usize) -> String {
        let number = position + 1;
        match self.parameters.get(position).and_then(|parameter| parameter.name.as_ref()) {
            Some(name) => format!("argument {number} (`{name}`)"),
            None => format!("argument {number}"),
        }
    }
}

fn arguments(count: usize) -> String {
    match count {
        0 => "no arguments".to_owned(),
        1 => "1 argument".to_owned(),
        count => format!("{count} arguments"),
    }
}

fn parse_parameters(text: &str, list: &str) -> Result<(Vec<Parameter>, bool), SignatureError> {
    let text = text.to_owned();
    let mut parameters: Vec<Parameter> = Vec::new();
    let mut open = false;
    if list.trim().is_empty() {
        return Ok((parameters, open));
    }
    for word in list.split(',').map(str::trim) {
        if open {
            return Err(SignatureError::AfterRest(text));
        }
        if word == "..." {
            open = true;
            continue;
        }
        let (name, optional) = match word.strip_suffix('?') {
            Some(name) => (name, true),
            None => (word, false),
        };
        check_name(&text, name)?;
        let name = name.to_owned();
        if parameters.iter().any(|parameter| parameter.name.as_ref() == Some(&name)) {
            return Err(SignatureError::Twice { text, name });
        }
        if !optional && parameters.last().is_some_and(|parameter| parameter.optional) {
            return Err(SignatureError::RequiredAfterOptional { text, name });
        }
        parameters.push(Parameter { name: Some(name), optional });
    }
    Ok((parameters, open))
}

fn check_name(text: &str, word: &str) -> Result<(), SignatureError> {
    let allowed = |letter: char| letter.is_alphanumeric() || "_-.".contains(letter);
    if word.is_empty() || !word.chars().all(allowed) {
        return Err(SignatureError::NotAName { text: text.to_owned(), word: word.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Signature;

    /// Reads a signature and writes what was understood.
    fn read(text: &str) -> String {
        let signature = match Signature::parse(text) {
            Ok(signature) => signature,
            Err(error) => return error.to_string(),
        };
        let count = signature.count_text();
        let names: Vec<&str> =
            signature.parameters.iter().filter_map(|parameter| parameter.name.as_deref()).collect();
        let name = &signature.name;
        let names = names.join(" ");
        format!("{name} [{names}] {count}, shown as {:?}", signature.parameters_text())
    }

    #[test]
    fn signatures() {
        for (text, expected) in [
            ("pid", r#"pid [] any arguments, shown as """#),
            ("pid()", r#"pid [] no arguments, shown as "()""#),
            ("pid(...)", r#"pid [] any arguments, shown as "(...)""#),
            ("cube(n)", r#"cube [n] 1 argument, shown as "(n)""#),
            ("cube(n,s?)", r#"cube [n s] 1 to 2 arguments, shown as "(n,s?)""#),
            ("image.flip(a, b)", r#"image.flip [a b] 2 arguments, shown as "(a, b)""#),
            ("log(first, ...)", r#"log [first] at least 1 argument, shown as "(first, ...)""#),
            ("", "the signature `` has no name"),
            ("(n)", "the signature `(n)` has no name"),
            ("f(n", "the signature `f(n` has no `)` at its end"),
            ("f(n) x", "the signature `f(n) x` has no `)` at its end"),
            (
                "f (n)",
                "in the signature `f (n)` `f ` is not a name: use letters, digits, `_`, `-`, `.`",
            ),
            (
                "f(a,,b)",
                "in the signature `f(a,,b)` `` is not a name: use letters, digits, `_`, `-`, `.`",
            ),
            ("f(a, a)", "in the signature `f(a, a)` the parameter `a` stands twice"),
            (
                "f(a?, b)",
                "in the signature `f(a?, b)` `b` must not follow a parameter that may be missing",
            ),
            ("f(..., a)", "in the signature `f(..., a)` nothing can follow `...`"),
        ] {
            assert_eq!(read(text), expected);
        }
    }
}
