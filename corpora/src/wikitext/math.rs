//! Formulas: what needs no typesetting is written as text.

use std::borrow::Cow;

use super::options::Math;

/// A formula that comes out longer than this stands by itself and is no part of a sentence.
const MAX_LETTERS: usize = 80;

impl Math {
    /// What is shown of a formula written in TeX; `None` if nothing.
    pub(super) fn show(self, formula: &str) -> Option<Cow<'_, str>> {
        match self {
            Math::Drop => None,
            Math::Tex => {
                let words = formula.split_whitespace().collect::<Vec<_>>().join(" ");
                (!words.is_empty()).then_some(Cow::Owned(words))
            }
            Math::Simple => {
                let plain = formula.bytes().all(|byte| byte.is_ascii_alphanumeric());
                if plain && !formula.is_empty() && formula.len() <= 40 {
                    return Some(Cow::Borrowed(formula));
                }
                let written = Formula { rest: formula, depth: 0 }.run(None)?;
                let written = written.split_whitespace().collect::<Vec<_>>().join(" ");
                let written = written.replace("( ", "(").replace(" )", ")");
                (!written.is_empty() && written.chars().count() <= MAX_LETTERS).then_some(Cow::Owned(written))
            }
        }
    }
}

/// A formula being read.
struct Formula<'text> {
    rest: &'text str,
    depth: usize,
}

impl Formula<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.rest.chars().next()?;
        self.rest = &self.rest[letter.len_utf8()..];
        Some(letter)
    }

    /// Reads to the end, or over the bracket that closes a group. `None`: this cannot be written in one line.
    fn run(&mut self, closing: Option<char>) -> Option<String> {
        if self.depth > 8 || self.rest.len() > 400 {
            return None;
        }
        let mut written = String::new();
        while let Some(letter) = self.next() {
            match letter {
                _ if Some(letter) == closing => return Some(written),
                '}' | '&' | '<' | '>' if letter != '<' && letter != '>' => return None,
                '{' => written.push_str(&self.group()?),
                '^' | '_' => {
                    let content = self.argument()?;
                    if letter == '^' && content == "∘" {
                        written.push('°');
                    } else if letter == '^' && content.chars().all(|letter| letter == '′') {
                        written.push_str(&content);
                    } else {
                        let table = if letter == '^' { RAISED } else { LOWERED };
                        written.push_str(&moved(&content, table)?);
                    }
                }
                '\\' => written.push_str(&self.command()?),
                '\'' => written.push('′'),
                '-' => written.push('−'),
                '~' => written.push(' '),
                '=' | '<' | '>' => {
                    written.push(' ');
                    written.push(letter);
                    written.push(' ');
                }
                _ => written.push(letter),
            }
        }
        if closing.is_some() { None } else { Some(written) }
    }

    fn group(&mut self) -> Option<String> {
        self.depth += 1;
        let content = self.run(Some('}'))?;
        self.depth -= 1;
        Some(content)
    }

    /// What a raised mark, a lowered one or a command is applied to.
    fn argument(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        match self.next()? {
            '{' => self.group(),
            '\\' => self.command(),
            letter if letter.is_alphanumeric() || matches!(letter, '*' | '+' | '-') => Some(letter.to_string()),
            _ => None,
        }
    }

    fn command(&mut self) -> Option<String> {
        let length = self.rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        if length == 0 {
            return Some(match self.next()? {
                ',' | ';' | ':' | ' ' | '\n' => " ".to_owned(),
                '!' | '/' => String::new(),
                letter @ ('%' | '$' | '#' | '&' | '_' | '{' | '}') => letter.to_string(),
                '|' => "‖".to_owned(),
                _ => return None,
            });
        }
        let (name, rest) = self.rest.split_at(length);
        self.rest = rest;
        match name {
            "mathrm" | "mathbf" | "mathit" | "mathsf" | "mathtt" | "operatorname" | "rm" | "bf" | "it"
            | "displaystyle" | "textstyle" | "scriptstyle" | "boldsymbol" | "left" | "right" | "big" | "Big"
            | "bigl" | "bigr" | "Bigl" | "Bigr" | "limits" | "nolimits" | "mathcal" | "mathfrak" | "vec" | "hat"
            | "bar" | "overline" | "tilde" | "dot" | "ddot" | "mathop" | "mathord" | "ce" => match name {
                // A mark above a letter would be lost.
                "vec" | "hat" | "bar" | "overline" | "tilde" | "dot" | "ddot" => None,
                "left" | "right" if self.rest.starts_with('.') => {
                    self.next();
                    Some(String::new())
                }
                _ => Some(String::new()),
            },
            "text" | "textrm" | "textit" | "textbf" | "mbox" | "hbox" => {
                let rest = self.rest.trim_start().strip_prefix('{')?;
                let (content, rest) = rest.split_once('}')?;
                self.rest = rest;
                (!content.contains(['\\', '{', '$'])).then(|| content.to_owned())
            }
            "mathbb" | "mathbf_" => {
                let argument = self.argument()?;
                let place = "NZQRCPH".find(argument.as_str())?;
                "ℕℤℚℝℂℙℍ".chars().nth(place).map(String::from)
            }
            "frac" | "tfrac" | "dfrac" => {
                let (over, under) = (self.argument()?, self.argument()?);
                let atom = |part: &str| part.chars().all(char::is_alphanumeric) && !part.is_empty();
                (atom(&over) && atom(&under)).then(|| format!("{over}/{under}"))
            }
            "sqrt" => {
                let argument = self.argument()?;
                argument.chars().all(char::is_alphanumeric).then(|| format!("√{argument}"))
            }
            _ => {
                let place = COMMANDS.binary_search_by_key(&name, |(command, _)| command).ok();
                if let Some(place) = place {
                    return Some(COMMANDS[place].1.to_owned());
                }
                // `sin x` is apart, `sin²` and `sin(x)` are not.
                let letter = self.rest.trim_start().starts_with(|next: char| next.is_alphanumeric() || next == '\\');
                let space = if letter { " " } else { "" };
                FUNCTIONS.contains(&name).then(|| format!(" {name}{space}"))
            }
        }
    }
}

/// A text in raised or lowered characters, if there are such for all of it.
fn moved(text: &str, table: (&str, &str)) -> Option<String> {
    let one = |letter: char| table.1.chars().nth(table.0.chars().position(|other| other == letter)?);
    text.chars().filter(|letter| *letter != ' ').map(one).collect()
}

const RAISED: (&str, &str) = ("0123456789+−=()nijabcdefghklmoprstuvwxyzT", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱʲᵃᵇᶜᵈᵉᶠᵍʰᵏˡᵐᵒᵖʳˢᵗᵘᵛʷˣʸᶻᵀ");
const LOWERED: (&str, &str) = ("0123456789+−=()aehijklmnoprstuvx", "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ");

const FUNCTIONS: &[&str] = &[
    "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "deg", "det", "dim", "exp", "gcd", "ker", "ln", "log",
    "max", "min", "mod", "sec", "sin", "sinh", "tan", "tanh",
];

/// Commands that are one sign, sorted.
const COMMANDS: &[(&str, &str)] = &[
    ("Delta", "Δ"),
    ("Gamma", "Γ"),
    ("Lambda", "Λ"),
    ("Leftarrow", " ⇐ "),
    ("Leftrightarrow", " ⇔ "),
    ("Omega", "Ω"),
    ("Phi", "Φ"),
    ("Pi", "Π"),
    ("Psi", "Ψ"),
    ("Rightarrow", " ⇒ "),
    ("Sigma", "Σ"),
    ("Theta", "Θ"),
    ("Upsilon", "Υ"),
    ("Xi", "Ξ"),
    ("aleph", "ℵ"),
    ("alpha", "α"),
    ("angle", "∠"),
    ("approx", " ≈ "),
    ("ast", "∗"),
    ("beta", "β"),
    ("bullet", "•"),
    ("cap", " ∩ "),
    ("cdot", "·"),
    ("cdots", "⋯"),
    ("chi", "χ"),
    ("circ", "∘"),
    ("colon", ":"),
    ("cong", " ≅ "),
    ("cup", " ∪ "),
    ("degree", "°"),
    ("delta", "δ"),
    ("div", " ÷ "),
    ("dots", "…"),
    ("ell", "ℓ"),
    ("emptyset", "∅"),
    ("epsilon", "ε"),
    ("equiv", " ≡ "),
    ("eta", "η"),
    ("exists", "∃"),
    ("forall", "∀"),
    ("gamma", "γ"),
    ("ge", " ≥ "),
    ("geq", " ≥ "),
    ("gg", " ≫ "),
    ("hbar", "ℏ"),
    ("in", " ∈ "),
    ("infty", "∞"),
    ("iota", "ι"),
    ("kappa", "κ"),
    ("lambda", "λ"),
    ("land", " ∧ "),
    ("langle", "⟨"),
    ("ldots", "…"),
    ("le", " ≤ "),
    ("leftarrow", " ← "),
    ("leftrightarrow", " ↔ "),
    ("leq", " ≤ "),
    ("ll", " ≪ "),
    ("lnot", "¬"),
    ("lor", " ∨ "),
    ("mapsto", " ↦ "),
    ("mid", " | "),
    ("mp", "∓"),
    ("mu", "μ"),
    ("nabla", "∇"),
    ("ne", " ≠ "),
    ("neg", "¬"),
    ("neq", " ≠ "),
    ("ni", " ∋ "),
    ("notin", " ∉ "),
    ("nu", "ν"),
    ("omega", "ω"),
    ("oplus", " ⊕ "),
    ("otimes", " ⊗ "),
    ("parallel", " ∥ "),
    ("partial", "∂"),
    ("perp", " ⊥ "),
    ("phi", "φ"),
    ("pi", "π"),
    ("pm", " ± "),
    ("prime", "′"),
    ("propto", " ∝ "),
    ("psi", "ψ"),
    ("qquad", " "),
    ("quad", " "),
    ("rangle", "⟩"),
    ("rho", "ρ"),
    ("rightarrow", " → "),
    ("setminus", " ∖ "),
    ("sigma", "σ"),
    ("sim", " ∼ "),
    ("simeq", " ≃ "),
    ("star", "⋆"),
    ("subset", " ⊂ "),
    ("subseteq", " ⊆ "),
    ("supset", " ⊃ "),
    ("supseteq", " ⊇ "),
    ("tau", "τ"),
    ("theta", "θ"),
    ("times", " × "),
    ("to", " → "),
    ("upsilon", "υ"),
    ("varepsilon", "ε"),
    ("varnothing", "∅"),
    ("varphi", "φ"),
    ("vartheta", "ϑ"),
    ("vee", " ∨ "),
    ("wedge", " ∧ "),
    ("xi", "ξ"),
    ("zeta", "ζ"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shows(formula: &str, expected: Option<&str>) {
        assert_eq!(Math::Simple.show(formula).as_deref(), expected, "{formula}");
    }

    #[test]
    fn what_fits_in_a_line_is_written() {
        shows("n", Some("n"));
        shows(r"\alpha_1 \le x^{2}", Some("α₁ ≤ x²"));
        shows(r"E=mc^2", Some("E = mc²"));
        shows(r"f: \mathbb{R} \to \mathbb{R}", Some("f: ℝ → ℝ"));
        shows(r"90^\circ", Some("90°"));
        shows(r"\tfrac{1}{2}\,\text{of } x", Some("1/2 of x"));
        shows(r"\sin \theta = -1", Some("sin θ = −1"));
        shows(r"\left( \sin^2(x) \right)", Some("(sin²(x))"));
    }

    #[test]
    fn what_needs_typesetting_is_not() {
        shows(r"\frac{a+b}{c}", None);
        shows(r"x^{a_b}", None);
        shows(r"\begin{matrix} a \end{matrix}", None);
        shows(r"\int_0^1 f", None);
        shows("", None);
        shows("{", None);
        shows("}", None);
        shows(r"\", None);
        shows("x^", None);
        shows(&"{".repeat(300), None);
    }

    #[test]
    fn the_source_is_shown_where_that_is_wanted() {
        assert_eq!(Math::Tex.show("\\frac{a}\n {b}").as_deref(), Some("\\frac{a} {b}"));
        assert_eq!(Math::Drop.show("n"), None);
    }

    #[test]
    fn commands_are_sorted() {
        assert!(COMMANDS.is_sorted());
        assert_eq!(RAISED.0.chars().count(), RAISED.1.chars().count());
        assert_eq!(LOWERED.0.chars().count(), LOWERED.1.chars().count());
    }
}
