//! Numbers in English words.

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];

const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// Powers of a thousand, the largest first.
const THOUSANDS: [(u64, &str); 4] =
    [(1_000_000_000_000, "trillion"), (1_000_000_000, "billion"), (1_000_000, "million"), (1_000, "thousand")];

/// The word for a power of ten that counts thousands: `million` for 6.
pub(super) fn power_of_ten(exponent: i32) -> Option<&'static str> {
    let value = 10u64.checked_pow(u32::try_from(exponent).ok()?)?;
    THOUSANDS.iter().find(|(power, _)| *power == value).map(|(_, word)| *word)
}

/// A number below 10¹⁵ in words, as `one thousand two hundred and five`; `None` for larger ones.
pub(super) fn in_words(number: u64) -> Option<String> {
    if number >= 1_000_000_000_000_000 {
        return None;
    }
    let mut words: Vec<String> = Vec::new();
    let mut rest = number;
    for (power, word) in THOUSANDS {
        if rest >= power {
            words.push(format!("{} {word}", below_thousand(rest / power)));
            rest %= power;
        }
    }
    if rest > 0 || words.is_empty() {
        let last = below_thousand(rest);
        words.push(if rest < 100 && !words.is_empty() { format!("and {last}") } else { last });
    }
    Some(words.join(" "))
}

fn below_thousand(number: u64) -> String {
    let (hundreds, rest) = (number / 100, number % 100);
    let below_hundred = match rest {
        0..20 => SMALL[rest as usize].to_owned(),
        _ if rest % 10 == 0 => TENS[(rest / 10) as usize].to_owned(),
        _ => format!("{}-{}", TENS[(rest / 10) as usize], SMALL[(rest % 10) as usize]),
    };
    match (hundreds, rest) {
        (0, _) => below_hundred,
        (_, 0) => format!("{} hundred", SMALL[hundreds as usize]),
        _ => format!("{} hundred and {below_hundred}", SMALL[hundreds as usize]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_say_them() {
        for (number, words) in [
            (0, "zero"),
            (13, "thirteen"),
            (42, "forty-two"),
            (100, "one hundred"),
            (305, "three hundred and five"),
            (1_000, "one thousand"),
            (1_205, "one thousand two hundred and five"),
            (2_000_017, "two million and seventeen"),
            (80_000, "eighty thousand"),
        ] {
            assert_eq!(in_words(number).as_deref(), Some(words));
        }
        assert_eq!(in_words(u64::MAX), None);
        assert_eq!((power_of_ten(6), power_of_ten(7), power_of_ten(-3)), (Some("million"), None, None));
    }
}
