//! A structured memory: items that are inserted, updated and deleted by function calls.
//!
//! [`Bank`] is a value. It is printed, compared ([`Bank::changes_to`]), saved (serde), and made again from the calls
//! that were accepted ([`Bank::replay`]). Two layouts:
//!
//! * [`Layout::Flat`]: one list, each item with the step that wrote it (Fine-Mem, arXiv 2601.08435)
//! * [`Layout::Sections`]: one core text, and a semantic and an episodic list (Mem-α, arXiv 2509.25911)
//!
//! How it is written is [`call`] and [`writer`], how it is read [`retrieval`] and [`answerer`].

pub mod answerer;
pub mod call;
pub mod prompts;
pub mod retrieval;
pub mod writer;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::call::{Call, CallError, Section};
pub use self::prompts::{BankConfig, BankPrompts, BankReading, Retrieval};

/// Which parts a bank has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One list of items.
    Flat,
    /// A core, a semantic and an episodic list.
    Sections,
}

impl Layout {
    /// Its lists, in the order in which they are shown.
    pub const fn lists(self) -> &'static [Section] {
        match self {
            Self::Flat => &[Section::Items],
            Self::Sections => &[Section::Semantic, Section::Episodic],
        }
    }
}

/// An item of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number, from 1; never given twice.
    pub id: u64,
    /// The list it is in.
    pub section: Section,
    /// Its words.
    pub content: String,
    /// The step that wrote these words, from 1.
    pub step: u32,
}

/// A memory of items.
///
/// ```
/// use memtrain_rl::agents::bank::{Bank, Call, Layout, Section};
/// let mut bank = Bank::new(Layout::Flat);
/// bank.apply(&Call::Insert { section: Section::Items, content: "Lorn is a river.".into() }, 1).unwrap();
/// bank.apply(&Call::Update { section: Section::Items, id: Some(1), content: "Lorn is a river in Velmora.".into() }, 2).unwrap();
/// assert_eq!(bank.to_string(), "[1] Lorn is a river in Velmora.");
/// assert_eq!(bank.entries()[0].step, 2);
/// let refused = bank.apply(&Call::Delete { section: Section::Items, id: Some(7) }, 3);
/// assert_eq!(refused.unwrap_err().to_string(), "there is no item 7");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bank {
    layout: Layout,
    core: String,
    entries: Vec<Entry>,
    next_id: u64,
}

/// Why a call that is well formed changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No item has the number, or not in this list.
    #[error("there is no item {id}")]
    Unknown {
        /// The number.
        id: u64,
    },
    /// The same words are there already.
    #[error("the same words are there already")]
    Duplicate,
    /// Nothing to keep.
    #[error("the content is empty")]
    Empty,
    /// The core would be longer than it may be.
    #[error("a core of {tokens} tokens is longer than {limit}")]
    CoreTooLong {
        /// Its length.
        tokens: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The layout has no such part.
    #[error("this memory has no part `{}`", section.as_str())]
    NoSuchPart {
        /// The part.
        section: Section,
    },
}

/// A call that was accepted, and the step it came from: what [`Bank::replay`] needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The step, from 1.
    pub step: u32,
    /// The call.
    pub call: Call,
}

/// One difference between two banks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An item that is new.
    Added(Entry),
    /// An item whose words or step are others.
    Changed {
        /// As it was.
        before: Entry,
        /// As it is.
        after: Entry,
    },
    /// An item that is gone.
    Removed(Entry),
    /// Another core.
    Core {
        /// As it was.
        before: String,
        /// As it is.
        after: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(entry) => write!(formatter, "+ [{}] {}", entry.id, entry.content),
            Self::Removed(entry) => write!(formatter, "- [{}] {}", entry.id, entry.content),
            Self::Changed { before, after } => {
                write!(formatter, "~ [{}] {} -> {}", after.id, before.content, after.content)
            }
            Self::Core { before, after } => write!(formatter, "~ core: {before} -> {after}"),
        }
    }
}

impl Bank {
    /// An empty bank.
    pub fn new(layout: Layout) -> Self {
        Self { layout, core: String::new(), entries: Vec::new(), next_id: 1 }
    }

    /// Which parts it has.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The core; empty where there is none.
    pub fn core(&self) -> &str {
        &self.core
    }

    /// All items, by number.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.core.is_empty() && self.entries.is_empty()
    }

    /// Everything it holds as plain text, for measuring its size.
    pub fn contents(&self) -> impl Iterator<Item = &str> {
        let core = Some(self.core.as_str()).filter(|core| !core.is_empty());
        core.into_iter().chain(self.entries.iter().map(|entry| entry.content.as_str()))
    }

    /// Does what a call says. The length of a core is for the caller to check, who knows the tokenizer.
    ///
    /// # Errors
    /// Why nothing was changed.
    pub fn apply(&mut self, call: &Call, step: u32) -> Result<(), Refusal> {
        match call {
            Call::Skip => Ok(()),
            Call::Insert { section, content } | Call::Update { section: section @ Section::Core, content, .. } => {
                let content = content.trim();
                self.check_part(*section)?;
                if content.is_empty() {
                    return Err(Refusal::Empty);
                }
                if self.holds(*section, content) {
                    return Err(Refusal::Duplicate);
                }
                if *section == Section::Core {
                    content.clone_into(&mut self.core);
                    return Ok(());
                }
                let id = self.next_id;
                self.next_id += 1;
                self.entries.push(Entry { id, section: *section, content: content.to_owned(), step });
                Ok(())
            }
            Call::Update { section, id, content } => {
                let (place, content) = (self.place(*section, *id)?, content.trim());
                if content.is_empty() {
                    return Err(Refusal::Empty);
                }
                if self.holds(*section, content) {
                    return Err(Refusal::Duplicate);
                }
                let entry = &mut self.entries[place];
                content.clone_into(&mut entry.content);
                entry.step = step;
                Ok(())
            }
            Call::Delete { section: Section::Core, .. } => {
                self.check_part(Section::Core)?;
                if self.core.is_empty() {
                    return Err(Refusal::Empty);
                }
                self.core.clear();
                Ok(())
            }
            Call::Delete { section, id } => {
                let place = self.place(*section, *id)?;
                self.entries.remove(place);
                Ok(())
            }
        }
    }

    fn check_part(&self, section: Section) -> Result<(), Refusal> {
        let is_there =
            self.layout.lists().contains(&section) || self.layout == Layout::Sections && section == Section::Core;
        if is_there { Ok(()) } else { Err(Refusal::NoSuchPart { section }) }
    }

    fn place(&self, section: Section, id: Option<u64>) -> Result<usize, Refusal> {
        self.check_part(section)?;
        let id = id.unwrap_or(0);
        let found = self.entries.iter().position(|entry| entry.id == id && entry.section == section);
        found.ok_or(Refusal::Unknown { id })
    }

    /// Whether a part holds these words already, white space aside.
    fn holds(&self, section: Section, content: &str) -> bool {
        let same = |other: &str| other.split_whitespace().eq(content.split_whitespace());
        match section {
            Section::Core => same(&self.core),
            list => self.entries.iter().any(|entry| entry.section == list && same(&entry.content)),
        }
    }

    /// The bank that accepted calls lead to, from an empty one.
    ///
    /// # Errors
    /// If a call was not accepted by such a bank.
    pub fn replay(layout: Layout, calls: &[Accepted]) -> Result<Self, Refusal> {
        let mut bank = Self::new(layout);
        for accepted in calls {
            bank.apply(&accepted.call, accepted.step)?;
        }
        Ok(bank)
    }

    /// What has to change to come from this bank to `after`.
    pub fn changes_to(&self, after: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.core != after.core {
            changes.push(Change::Core { before: self.core.clone(), after: after.core.clone() });
        }
        for entry in &self.entries {
            match after.entries.iter().find(|other| other.id == entry.id) {
                None => changes.push(Change::Removed(entry.clone())),
                Some(other) if other != entry => {
                    changes.push(Change::Changed { before: entry.clone(), after: other.clone() });
                }
                Some(_) => {}
            }
        }
        let is_new = |entry: &&Entry| self.entries.iter().all(|other| other.id != entry.id);
        changes.extend(after.entries.iter().filter(is_new).map(|entry| Change::Added(entry.clone())));
        changes
    }

    /// As an agent is shown it: the core, and of each list the `recent` newest items, by number.
    ///
    /// ```
    /// use memtrain_rl::agents::bank::{Bank, Call, Layout, Section};
    /// let mut bank = Bank::new(Layout::Sections);
    /// assert_eq!(bank.shown(9), "empty");
    /// for (section, content) in [(Section::Core, "Rivers."), (Section::Semantic, "Lorn."), (Section::Semantic, "Velm.")] {
    ///     bank.apply(&Call::Insert { section, content: content.into() }, 1).unwrap();
    /// }
    /// assert_eq!(bank.shown(1), "core: Rivers.\nsemantic:\n[2] Velm.");
    /// ```
    pub fn shown(&self, recent: usize) -> String {
        let mut chosen = Vec::new();
        for list in self.layout.lists() {
            let items: Vec<&Entry> = self.entries.iter().filter(|entry| entry.section == *list).collect();
            chosen.extend(items[items.len().saturating_sub(recent)..].iter().copied());
        }
        self.written(&chosen)
    }

    /// The core and the given items, under the names of their lists.
    pub fn written(&self, entries: &[&Entry]) -> String {
        let mut lines = Vec::new();
        if !self.core.is_empty() {
            lines.push(format!("core: {}", self.core));
        }
        for list in self.layout.lists() {
            let mut items = entries.iter().filter(|entry| entry.section == *list).peekable();
            if items.peek().is_some() && *list != Section::Items {
                lines.push(format!("{}:", list.as_str()));
            }
            lines.extend(items.map(|entry| format!("[{}] {}", entry.id, entry.content)));
        }
        if lines.is_empty() { crate::agents::prompts::EMPTY_MEMORY.to_owned() } else { lines.join("\n") }
    }
}

/// Everything it holds, as an agent would be shown it.
impl fmt::Display for Bank {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.shown(usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn section() -> impl Strategy<Value = Section> {
        prop_oneof![Just(Section::Core), Just(Section::Semantic), Just(Section::Episodic), Just(Section::Items)]
    }

    fn call() -> impl Strategy<Value = Call> {
        let content = "[ab ]{0,3}";
        let id = prop::option::of(0_u64..8);
        prop_oneof![
            3 => (section(), content).prop_map(|(section, content)| Call::Insert { section, content }),
            2 => (section(), id.clone(), content).prop_map(|(section, id, content)| Call::Update { section, id, content }),
            1 => (section(), id).prop_map(|(section, id)| Call::Delete { section, id }),
            1 => Just(Call::Skip),
        ]
    }

    proptest! {
        #[test]
        fn a_log_of_calls_makes_the_bank_again(calls in prop::collection::vec(call(), 0..40), sections in any::<bool>()) {
            let layout = if sections { Layout::Sections } else { Layout::Flat };
            let mut bank = Bank::new(layout);
            let mut log = Vec::new();
            for (step, call) in (1..).zip(calls) {
                let before = bank.clone();
                match bank.apply(&call, step) {
                    Ok(()) => log.push(Accepted { step, call }),
                    Err(_) => prop_assert_eq!(&bank, &before, "a refused call changes nothing"),
                }
                prop_assert_eq!(before.changes_to(&bank).is_empty(), before == bank);
                let mut ids: Vec<u64> = bank.entries().iter().map(|entry| entry.id).collect();
                ids.dedup();
                prop_assert_eq!(ids.len(), bank.entries().len());
                prop_assert!(bank.entries().iter().all(|entry| layout.lists().contains(&entry.section) && entry.step <= step));
            }
            prop_assert_eq!(&Bank::replay(layout, &log).unwrap(), &bank);
            let saved = serde_json::to_string(&(&bank, &log)).unwrap();
            let (read, read_log): (Bank, Vec<Accepted>) = serde_json::from_str(&saved).unwrap();
            prop_assert_eq!(&read, &bank);
            prop_assert_eq!(&read_log, &log);
        }
    }

    #[test]
    fn differences_are_said_in_words() {
        let mut bank = Bank::new(Layout::Sections);
        let insert = |section, content: &str| Call::Insert { section, content: content.to_owned() };
        for content in ["one", "two"] {
            bank.apply(&insert(Section::Episodic, content), 1).unwrap();
        }
        let before = bank.clone();
        bank.apply(&insert(Section::Core, "all"), 2).unwrap();
        bank.apply(&Call::Update { section: Section::Episodic, id: Some(1), content: "One".into() }, 2).unwrap();
        bank.apply(&Call::Delete { section: Section::Episodic, id: Some(2) }, 2).unwrap();
        bank.apply(&insert(Section::Semantic, "three"), 2).unwrap();
        let said: Vec<String> = before.changes_to(&bank).iter().map(ToString::to_string).collect();
        assert_eq!(said, ["~ core:  -> all", "~ [1] one -> One", "- [2] two", "+ [3] three"]);
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let mut bank = Bank::new(Layout::Sections);
        let insert = |section, content: &str| Call::Insert { section, content: content.to_owned() };
        bank.apply(&insert(Section::Semantic, "a  b"), 1).unwrap();
        assert_eq!(bank.apply(&insert(Section::Semantic, " a b"), 1), Err(Refusal::Duplicate));
        assert_eq!(bank.apply(&insert(Section::Episodic, "a b"), 1), Ok(()), "another list");
        assert_eq!(bank.apply(&insert(Section::Items, "a"), 1), Err(Refusal::NoSuchPart { section: Section::Items }));
        assert_eq!(bank.apply(&insert(Section::Core, " \n"), 1), Err(Refusal::Empty));
        let wrong_list = Call::Delete { section: Section::Episodic, id: Some(1) };
        assert_eq!(bank.apply(&wrong_list, 1), Err(Refusal::Unknown { id: 1 }));
        let mut flat = Bank::new(Layout::Flat);
        assert!(matches!(flat.apply(&insert(Section::Core, "x"), 1), Err(Refusal::NoSuchPart { .. })));
    }
}
