//! Vocabulary that keys, values and words are drawn from.

use std::sync::LazyLock;

use rand::Rng;
use rand::seq::IndexedRandom;

/// What is said again and again around needles.
pub(super) const NOISE: &str = "The lamps are lit at dusk. The road runs on past the mill. Rain taps on the roof. Nobody is in a hurry. Then it is morning again.";

static ADJECTIVES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    "able amber ample ancient apt arid azure bare bitter blank bleak blunt bold brave brief bright brisk broad \
    calm candid careful chilly civil clean clear clever cosy crisp crooked curly curved damp daring deep dense dim distant double \
    dry dull dusty eager early easy even faint fair famous fast fierce fine firm flat fond formal frail frank free fresh frosty \
    gentle giant glad golden grand grave great green grey half handy happy hardy hasty hidden high hollow honest humble idle icy \
    inner jolly keen kind large late lean light little lively local lone loud loyal lucky merry mild modest narrow neat nimble \
    noble odd old open orange outer pale patient plain polite prime proud pure quaint quick quiet rapid rare ready rich rigid ripe \
    rosy rough round rural rustic salty sandy scarce secret sharp shiny short shy silent silver simple sleepy slim slow small \
    smooth sober soft solid sour spare steep stern stiff still stormy stout strict strong sturdy subtle sunny sweet swift \
    tall tame tender thick thin tidy tiny tough true twin upper urban vague vast violet vivid warm wary weary wet white wide wild \
    windy wise witty yellow young"
        .split_whitespace()
        .collect()
});

static NOUNS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    "acorn anchor apple apron arch arrow attic autumn axle badge bakery balcony ballad bamboo banner barge barn \
    barrel basin basket beacon bell bench berry bishop blanket blossom boat bonnet bottle branch brick bridge brook broom bucket \
    buckle butter button cabin camel canal candle canoe canvas carpet castle cavern cedar cellar chapel cherry chimney cider circle \
    clay clock cloud clover coach cobbler comet compass copper coral corner cottage cotton cradle crane crater cricket crown \
    crystal cupboard curtain daisy dancer desert diamond dolphin donkey drum eagle easel elbow ember engine falcon farmer feather \
    fence fern ferry fiddle field finch flag flame flute forest fountain fox garden garlic gate geyser ginger glacier globe glove \
    goose granite grape gravel guitar hammer harbour harp harvest hazel hedge helmet heron hill honey horizon hornet inkwell island \
    ivory ivy jacket jasmine jewel jug juniper kettle key kitchen kite ladder lagoon lantern lark lemon lentil letter lever lily \
    linen lizard locket loom magnet mantle maple marble market meadow melon mill mint mirror mitten moss mountain mural mushroom \
    napkin needle nest nettle nutmeg oak oar oasis olive onion orchard otter oven owl paddle palace panther parade parcel parrot \
    pasture peach pearl pebble pepper piano pigeon pillow pine pirate pitcher planet plum pocket pond poppy portrait potter prairie \
    puppet pyramid quarry quill quilt rabbit raft raven reed ribbon river robin rocket rope rudder saddle saffron sail sapphire \
    saucer scarf school seed shell shield shovel signal skater sleigh slipper sparrow spice spider spindle spoon stable statue \
    stove summit sundial swan table tailor teapot temple thimble thistle thunder ticket tiger timber torch tower trumpet tulip \
    tunnel turnip turtle valley vase velvet village vineyard violin wagon walnut walrus weaver whale wheat wheel whistle willow \
    window winter wizard wolf yarn zebra"
        .split_whitespace()
        .collect()
});

/// An adjective and a noun.
pub(super) fn adjective_noun(generator: &mut impl Rng) -> String {
    let mut word = |list: &[&'static str]| list.choose(generator).copied().unwrap_or_default();
    let (adjective, noun) = (word(&ADJECTIVES), word(&NOUNS));
    format!("{adjective}-{noun}")
}

/// A number of so many digits.
pub(super) fn number(generator: &mut impl Rng, digits: u32) -> String {
    generator.random_range(10_u64.pow(digits - 1)..10_u64.pow(digits)).to_string()
}

/// A random UUID (RFC 9562, version 4).
pub(super) fn uuid(generator: &mut impl Rng) -> String {
    let bits: u128 = generator.random();
    let bits = bits & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// So many of the 26 letters that begin with `first`.
pub(super) fn letters(generator: &mut impl Rng, first: char, count: usize) -> String {
    (0..count).filter_map(|_| char::from_u32(u32::from(first) + generator.random_range(0..26))).collect()
}

/// A word of three syllables, one of a million, all of six letters.
pub(super) fn syllables(generator: &mut impl Rng) -> String {
    const CONSONANTS: &[u8; 20] = b"bcdfghjklmnpqrstvwyz";
    const VOWELS: &[u8; 5] = b"aeiou";
    let mut word = String::with_capacity(6);
    for _ in 0..3 {
        word.push(char::from(CONSONANTS[generator.random_range(0..CONSONANTS.len())]));
        word.push(char::from(VOWELS[generator.random_range(0..VOWELS.len())]));
    }
    word
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use memtrain_corpora::rng;

    use super::*;

    #[test]
    fn the_lists_hold_no_word_twice() {
        for words in [&ADJECTIVES, &NOUNS] {
            assert_eq!(words.iter().collect::<HashSet<_>>().len(), words.len());
            assert!(words.len() >= 190, "{}", words.len());
        }
    }

    #[test]
    fn what_is_drawn_has_its_form() {
        let mut generator = rng::keyed("test/ruler/words", 1, &[]);
        for _ in 0..100 {
            let id = uuid(&mut generator);
            let parts: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
            assert!(&id[14..15] == "4" && "89ab".contains(&id[19..20]), "{id}");
            assert_eq!(number(&mut generator, 7).len(), 7);
            assert!(letters(&mut generator, 'A', 5).bytes().all(|byte| byte.is_ascii_uppercase()));
            assert_eq!(syllables(&mut generator).len(), 6);
        }
    }
}
