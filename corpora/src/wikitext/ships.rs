//! Ships: the prefix of the navy or the kind, the name, and which part of them is shown.

use super::clean::Cleaner;
use super::template::Argument;

impl Cleaner<'_> {
    /// `{{HMS|Victory|1765|6}}`, whose arguments from `first` on are the name, what tells it from others of the name, and a number
    /// that says what is shown.
    pub(super) fn show_ship(&mut self, prefix: &str, first: u8, arguments: &[Argument]) {
        let mut part = |number: u8| self.plain_part(self.numbered(arguments, number));
        let (ship, number, mode) = (part(first), part(first + 1), part(first + 2));
        if ship.is_empty() {
            self.push_plain(prefix);
            return;
        }
        let full = format!("{prefix} {ship}").trim().to_owned();
        let target = if number.is_empty() { full.clone() } else { format!("{full} ({number})") };
        let shown = match mode.as_str() {
            "1" => number,
            "2" => ship,
            "3" if number.is_empty() => ship,
            "3" => format!("{ship} ({number})"),
            "6" => full,
            _ => target.clone(),
        };
        self.push_link(shown.trim(), target.trim());
    }

    /// `{{ship|HMS|Victory|1765}}`.
    pub(super) fn show_named_ship(&mut self, arguments: &[Argument]) {
        let prefix = self.plain_part(self.numbered(arguments, 1));
        self.show_ship(&prefix, 2, arguments);
    }

    /// `{{sclass|Iowa|battleship}}`; a third argument says what is shown: `Iowa-class` (0), `Iowa class` (4), `Iowa` (5), or all.
    pub(super) fn show_ship_class(&mut self, arguments: &[Argument]) {
        let form = self.plain_part(self.numbered(arguments, 3));
        self.show_value(self.numbered(arguments, 1));
        match form.as_str() {
            "0" => self.out.push("-class"),
            "4" => self.out.push(" class"),
            "5" => {}
            _ => {
                self.out.push("-class ");
                self.show_value(self.numbered(arguments, 2));
            }
        }
    }
}
