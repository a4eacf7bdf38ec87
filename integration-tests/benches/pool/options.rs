//! The command line of the benchmark.

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Usage: cargo bench -p integration-tests --bench pool [-- OPTIONS]

Without options: installs the peers below target/peers, measures every row in three rounds, and
writes integration-tests/BENCHMARKS.md. With any of --only, --quick and --no-peers it measures
less, and writes target/benchmarks/BENCHMARKS.md instead.

  --rounds N        rounds, 3 by default, or 1 with --quick
  --only ROW,ROW    only these rows, by number
  --quick           a tenth of the tasks, and one round: to try it, not to quote it
  --no-peers        only limits and ours
  --report          measures nothing: writes the report of the last complete run again
  --help            this text";

/// What is to be measured.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// How often each subject is measured.
    pub(crate) rounds: usize,
    /// The numbers of the rows, or all.
    pub(crate) only: Option<Vec<u8>>,
    /// Fewer tasks.
    pub(crate) quick: bool,
    /// Whether peers are measured.
    pub(crate) peers: bool,
    /// Only the report is to be written.
    pub(crate) report_only: bool,
}

impl Options {
    /// Reads them. `None` if the help was asked for, which has been printed then.
    pub(crate) fn parse(words: &[String]) -> Result<Option<Self>, String> {
        let mut options =
            Self { rounds: 0, only: None, quick: false, peers: true, report_only: false };
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            match word {
                "--rounds" => options.rounds = number(words.next())?,
                "--only" => {
                    let rows = words.next().unwrap_or_default();
                    let rows = rows.split(',').map(|row| number(Some(row)));
                    options.only = Some(rows.collect::<Result<_, _>>()?);
                }
                "--quick" => options.quick = true,
                "--no-peers" => options.peers = false,
                "--report" => options.report_only = true,
                "--help" => {
                    println!("{HELP}");
                    return Ok(None);
                }
                _ => return Err(format!("unknown argument `{word}`")),
            }
        }
        if options.rounds == 0 {
            options.rounds = if options.quick { 1 } else { 3 };
        }
        Ok(Some(options))
    }

    /// Whether everything is measured as it is to be quoted.
    pub(crate) const fn complete(&self) -> bool {
        self.only.is_none() && !self.quick && self.peers
    }

    /// Whether this row is measured.
    pub(crate) fn wants(&self, row: u8) -> bool {
        self.only.as_ref().is_none_or(|rows| rows.contains(&row))
    }
}

fn number<N: std::str::FromStr>(word: Option<&str>) -> Result<N, String> {
    word.and_then(|word| word.parse().ok()).ok_or_else(|| "a number is missing".to_owned())
}
