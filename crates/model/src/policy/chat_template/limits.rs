//! Limits of a chat template.

/// Longest source. The longest on the hub have some 20 KiB.
pub(super) const SOURCE_BYTES: u64 = 256 << 10;
/// Deepest nesting of statements and expressions in a source.
pub(super) const NESTING: u64 = 100;
/// Deepest nesting of what runs, macros that call macros included.
pub(super) const DEPTH: u64 = 400;
/// Deepest nesting of lists and dictionaries in one another.
pub(super) const VALUE_DEPTH: u64 = 120;
/// Widest indentation and widest padding, in characters.
pub(super) const WIDTH: u64 = 1_000;

/// Work and output of one rendering. A unit of work is about a byte that is read or written; what is allocated is paid
/// before it is, so that the limit of work is one of memory, too.
pub(super) struct Meter {
    work: u64,
    most_work: u64,
    output: u64,
    most_output: u64,
}

/// What ends a rendering.
#[derive(Debug)]
pub(super) enum Failure {
    /// Beyond a limit.
    Limit {
        /// What is limited.
        limit: &'static str,
        /// The limit.
        most: u64,
    },
    /// Anything else.
    Message(String),
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Message(message)
    }
}

/// Result of everything that may go beyond a limit.
pub(super) type Outcome<T> = Result<T, Failure>;

/// An error with a message.
pub(super) fn fail<T>(message: impl Into<String>) -> Outcome<T> {
    Err(Failure::Message(message.into()))
}

impl Meter {
    /// For a conversation of so many bytes. Templates on the hub read a conversation fewer than ten times and write it
    /// once.
    pub(super) fn for_input(bytes: u64) -> Self {
        let (most_work, most_output) = (
            (64_u64 << 20).saturating_add(bytes.saturating_mul(64)),
            (256_u64 << 10).saturating_add(bytes.saturating_mul(4)),
        );
        Self { work: 0, most_work, output: 0, most_output }
    }

    /// Pays for work.
    pub(super) fn work(&mut self, units: u64) -> Outcome<()> {
        self.work = self.work.saturating_add(units);
        match self.work <= self.most_work {
            true => Ok(()),
            false => Err(Failure::Limit { limit: "bytes of work and memory", most: self.most_work }),
        }
    }

    /// Pays for `len` bytes.
    pub(super) fn bytes(&mut self, len: usize) -> Outcome<()> {
        self.work((len as u64).saturating_add(8))
    }

    /// Pays for `len` values.
    pub(super) fn values(&mut self, len: usize) -> Outcome<()> {
        self.work((len as u64).saturating_mul(24).saturating_add(24))
    }

    /// Pays for `len` bytes of the prompt.
    pub(super) fn output(&mut self, len: usize) -> Outcome<()> {
        self.output = self.output.saturating_add(len as u64);
        match self.output <= self.most_output {
            true => Ok(()),
            false => Err(Failure::Limit {
                limit: "bytes of prompt for a conversation of this length",
                most: self.most_output,
            }),
        }
    }
}
