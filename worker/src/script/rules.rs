//! The requirements for masters that one worker can see.

use std::collections::{BTreeSet, VecDeque};

use protocol::{
    limits::PROTOCOL_VERSION,
    message::feature,
    strict::{Message, Value},
};

/// What was said so far, as far as the rules need it.
#[derive(Debug, Default)]
pub(super) struct Rules {
    oldest: u64,
    newest: u64,
    announced: Vec<String>,
    functions: Vec<String>,
    /// The features of the welcome.
    features: Vec<String>,
    welcomed: bool,
    rejected: bool,
    ready: bool,
    shares_arguments: bool,
    /// A drain, or a last call.
    over: bool,
    ids: BTreeSet<u64>,
    /// Items that are not answered, in order.
    due: VecDeque<(u64, u64)>,
}

impl Rules {
    /// The worker has said something; what is no message of a worker counts for nothing.
    pub(super) fn said(&mut self, message: &Message) {
        match message.name {
            "hello" => {
                self.oldest = message.number("oldest");
                self.newest = message.number("newest");
                self.announced = message.texts("features");
                let functions = message.functions().into_iter();
                self.functions = functions.map(|function| function.name).collect();
            }
            "ready" => {
                self.ready = true;
                self.shares_arguments = message.flag("shared_arguments");
            }
            "result" | "error" | "shared_result" => {
                self.due.pop_front();
            }
            "results" => {
                self.due.drain(..message.payload.len().min(self.due.len()));
            }
            _ => {}
        }
    }

    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|name| name == feature)
    }

    /// The master has said something.
    ///
    /// # Errors
    /// The number of the requirement that it breaks, and how.
    pub(super) fn heard(&mut self, message: &Message) -> Result<(), (u32, String)> {
        let name = message.name;
        if self.over && name != "cancel" {
            return Err((17, format!("`{name}` came behind a drain or a last call")));
        }
        if self.rejected {
            return Err((10, format!("`{name}` came behind a reject")));
        }
        match name {
            "welcome" | "reject" if self.welcomed => {
                Err((10, format!("`{name}` came behind a welcome")))
            }
            "welcome" => self.heard_welcome(message),
            "reject" => {
                self.rejected = true;
                Ok(())
            }
            _ if !self.welcomed => Err((18, format!("`{name}` came before a welcome"))),
            "call" => self.heard_call(message),
            "cancel" => {
                let item = (message.number("id"), message.number("item"));
                if !self.has(feature::CANCEL) {
                    return Err((38, "`cancel` came, and the welcome lacks that feature".into()));
                }
                match self.due.front() {
                    // It may have crossed the answer.
                    Some(first) if *first != item && self.due.contains(&item) => {
                        Err((38, "`cancel` is not about the oldest item without an answer".into()))
                    }
                    _ if !self.ids.contains(&item.0) => {
                        Err((38, "`cancel` is about a call that never came".into()))
                    }
                    _ => Ok(()),
                }
            }
            _ => {
                self.over = true;
                Ok(())
            }
        }
    }

    fn heard_welcome(&mut self, message: &Message) -> Result<(), (u32, String)> {
        let version = message.number("version");
        if !(self.oldest..=self.newest).contains(&version) {
            let (oldest, newest) = (self.oldest, self.newest);
            return Err((18, format!("the version {version} is not within {oldest} to {newest}")));
        }
        if version > PROTOCOL_VERSION.into() {
            return Err((18, format!("nobody knows the version {version}")));
        }
        self.features = message.texts("features");
        if let Some(unknown) = self.features.iter().find(|name| !self.announced.contains(name)) {
            return Err((19, format!("the feature `{unknown}` is not one that the hello has")));
        }
        let is_there = |field| !matches!(message.get(field), None | Some(Value::Nil));
        for field in [feature::SHARED_OUTPUT, feature::SHARED_ARGUMENTS] {
            if is_there(field) && !self.has(field) {
                return Err((10, format!("the field `{field}` is there without its feature")));
            }
        }
        self.welcomed = true;
        Ok(())
    }

    fn heard_call(&mut self, message: &Message) -> Result<(), (u32, String)> {
        let (id, function) = (message.number("id"), message.text("function"));
        if !self.ready {
            return Err((15, "a call came before `ready`".into()));
        }
        if !self.functions.contains(&function) {
            return Err((15, format!("the function `{function}` is not one that the hello has")));
        }
        if !self.ids.insert(id) {
            return Err((16, format!("the id {id} came twice")));
        }
        let is_shared = !matches!(message.get("shared"), None | Some(Value::Nil));
        if is_shared && !(self.has(feature::SHARED_ARGUMENTS) && self.shares_arguments) {
            return Err((57, "a payload is shared, which was not agreed on".into()));
        }
        let items = match message.get("items") {
            Some(_) => message.number("items"),
            None => 1,
        };
        self.due.extend((0..items).map(|item| (id, item)));
        self.over = message.flag("last");
        Ok(())
    }
}
