use std::collections::HashMap;

use proptest::prelude::*;

use super::frequent_words::DOTS;
use super::variables::Variables;
use super::*;

/// Tokens as a tokenizer of words would count them: runs of letters, single digits and signs.
fn count(text: &str) -> Result<usize, TaskError> {
    let mut tokens = 0;
    let mut in_word = false;
    for character in text.chars() {
        let is_letter = character.is_alphabetic();
        tokens += usize::from(!(character.is_whitespace() || is_letter && in_word));
        in_word = is_letter;
    }
    Ok(tokens)
}

fn essay() -> Essay {
    let mut essay = Essay::default();
    let sentence = |number: usize| format!("Sentence {number} of the essay says {}, and no more.", number * 7919);
    essay.add(&(0..400).map(sentence).collect::<Vec<_>>().join("\n"), usize::MAX);
    essay
}

fn made(task: RulerTask, number: u32, length: u32, seed: u64) -> Task {
    task.item(number, length, seed, &essay(), count).unwrap()
}

fn occurrences(text: &str, of: &str) -> usize {
    text.matches(of).count()
}

#[test]
fn the_tasks_are_rulers_with_its_parameters() {
    let names = TASKS.map(|task| task.name);
    assert_eq!(names.len(), 11);
    assert!(names.iter().all(|name| RulerTask::from_name(name).unwrap().name == *name));
    assert!(RulerTask::from_name("qa_1").is_none());
    let answers = TASKS.map(|task| made(task, 0, 4_096, 1).questions[0].answers.len());
    assert_eq!(answers, [1, 1, 1, 1, 1, 1, 4, 4, 5, 10, 3]);
    let room = TASKS.map(|task| task.family.answer_tokens());
    assert_eq!(room, [128, 128, 128, 128, 128, 128, 128, 128, 30, 120, 50]);
    let in_essays = TASKS.map(|task| task.needs_essay());
    assert_eq!(in_essays, [false, true, true, true, false, false, true, true, false, false, false]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn lengths_are_kept_and_nearly_reached(
        task in 0..TASKS.len(), number in 0_u32..1_000, length in 2_048_u32..20_000, seed: u64,
    ) {
        let task = TASKS[task];
        let item = made(task, number, length, seed);
        prop_assert!(item.check().is_ok());
        let tokens = count(&item.context()).unwrap();
        prop_assert_eq!(item.extra["num_tokens"].as_u64(), Some(tokens as u64));
        let used = tokens + count(&item.questions[0].text).unwrap() + task.family.answer_tokens();
        prop_assert!(used <= length as usize, "{} of {length}", used);
        // A unit of haystack, the longest with two UUIDs, has fewer than 120 tokens.
        prop_assert!(used + 120 + length as usize / SLACK >= length as usize, "{:?}: {} of {length}", task, used);
    }

    #[test]
    fn the_same_seed_is_the_same_task_and_another_is_not(task in 0..TASKS.len(), number in 0_u32..50, seed: u64) {
        let task = TASKS[task];
        let item = made(task, number, 2_048, seed);
        prop_assert_eq!(&made(task, number, 2_048, seed), &item);
        prop_assert_ne!(&made(task, number, 2_048, seed.wrapping_add(1)).questions, &item.questions);
        prop_assert_ne!(&made(task, number + 1, 2_048, seed).passages, &item.passages);
        // An item asks the same at every length.
        let longer = made(task, number, 4_100, seed);
        prop_assert_eq!((&longer.id, &longer.questions[0].answers), (&item.id, &item.questions[0].answers));
    }

    #[test]
    fn needles_stand_once_and_only_for_what_is_asked(task in 0_usize..8, number in 0_u32..500, seed: u64) {
        let item = made(TASKS[task], number, 3_000, seed);
        let (context, question) = (item.context(), &item.questions[0]);
        for answer in &question.answers {
            prop_assert_eq!(occurrences(&context, answer), 1);
            let sentence = context.split(['\n', '.']).find(|sentence| sentence.contains(answer.as_str())).unwrap();
            // The key that stands beside the answer is asked for.
            let key = sentence.split(" of ").last().unwrap().split(' ').next().unwrap();
            prop_assert!(question.text.contains(key), "{} in {}", key, question.text);
            prop_assert_eq!(occurrences(&context, &format!(" {key} ")), if task == 6 { 4 } else { 1 });
        }
    }

    #[test]
    fn variables_are_those_that_the_text_sets(number in 0_u32..500, seed: u64, chains in 1_usize..4, hops in 1_usize..6) {
        let family = variables::of(chains, hops);
        let essay = essay();
        let draw = Draw { task: "vt", seed, item: number.into(), attempt: 0, length: 4_096, essay: &essay };
        let built = family.build(&draw, 30);
        prop_assert!(built.is_unambiguous());
        let values = Variables::run(&built.context);
        prop_assert_eq!(values.len(), chains * (hops + 1));
        let asked = values[built.answers[0].as_str()];
        prop_assert!(asked.parse::<u32>().is_ok() && built.question.contains(asked));
        let mut found: Vec<&str> = values.into_iter().filter(|(_, value)| *value == asked).map(|(name, _)| name).collect();
        let mut answers: Vec<&str> = built.answers.iter().map(String::as_str).collect();
        found.sort_unstable();
        answers.sort_unstable();
        prop_assert_eq!(found, answers);
    }

    #[test]
    fn common_and_frequent_words_are_those_that_come_most(number in 0_u32..500, length in 2_048_u32..9_000, seed: u64) {
        for (name, share) in [("cwe", 5), ("fwe", 1)] {
            let item = made(RulerTask::from_name(name).unwrap(), number, length, seed);
            let context = item.context();
            let mut times: HashMap<&str, usize> = HashMap::new();
            let words = context.split(' ').filter(|word| *word != DOTS && !word.ends_with('.'));
            words.for_each(|word| *times.entry(word).or_default() += 1);
            let answers = &item.questions[0].answers;
            let least = answers.iter().map(|answer| times[answer.as_str()]).min().unwrap();
            let other = times.iter().filter(|(word, _)| !answers.iter().any(|answer| answer == *word));
            let most = other.map(|(_, times)| *times).max().unwrap();
            prop_assert!(least > most && least >= share * most, "{name}: {least} and {most}");
        }
    }
}

#[test]
fn needles_are_spread_over_the_whole_text() {
    for name in ["niah_single_1", "niah_single_2", "niah_multikey_2"] {
        let task = RulerTask::from_name(name).unwrap();
        let depth = |number: u32| {
            let item = made(task, number, 2_048, 5);
            let context = item.context();
            context.find(&item.questions[0].answers[0]).unwrap() as f64 / context.len() as f64
        };
        let depths: Vec<f64> = (0..200).map(depth).collect();
        let mean = depths.iter().sum::<f64>() / 200.0;
        // The deviation of a uniform mean of 200 is 0.02.
        assert!((mean - 0.5).abs() < 0.07, "{name}: {mean}");
        assert!(depths.iter().any(|depth| *depth < 0.1) && depths.iter().any(|depth| *depth > 0.9), "{name}");
    }
}

#[test]
fn tokenizers_that_count_hardly_anything_are_refused_by_every_task() {
    for task in TASKS {
        for tokens in [0, 1, 7] {
            let made = task.item(0, 100_000, 1, &essay(), |_| Ok::<_, TaskError>(tokens));
            let told = made.unwrap_err().to_string();
            assert!(told.contains(task.name) && told.contains("the tokenizer is not made for the text"), "{told}");
        }
    }
    // Of words that differ there are only so many, whatever is counted.
    let long = RulerTask::from_name("cwe").unwrap().item(0, 8 << 20, 1, &essay(), |_| Ok::<_, TaskError>(5));
    assert!(long.is_ok_and(|task| task.context().len() < 64 << 20));
}

#[test]
fn what_cannot_be_made_is_refused() {
    let tight = |name: &str, length: u32| {
        let task = RulerTask::from_name(name).unwrap();
        task.item(0, length, 1, &essay(), count).unwrap_err().to_string()
    };
    assert!(tight("niah_single_2", 150).contains("150 tokens have no room for `niah_single_2` and 128 tokens"));
    assert!(tight("cwe", 100).contains("no room"));
    let without = RulerTask::from_name("niah_multivalue").unwrap().item(0, 4_096, 1, &Essay::default(), count);
    assert!(without.unwrap_err().to_string().contains("none was given"));
    // A text that says everything hides nothing.
    let mut telling = Essay::default();
    let task = RulerTask::from_name("niah_single_2").unwrap();
    let asked = made(task, 0, 2_048, 1).questions.swap_remove(0).answers.swap_remove(0);
    telling.add(&format!("The number {asked} is known."), usize::MAX);
    let other = task.item(0, 2_048, 1, &telling, count).unwrap();
    assert_ne!(other.questions[0].answers[0], asked, "drawn anew");
}

#[test]
fn the_size_is_found_in_few_steps() {
    for (fixed, each, room) in [(50, 37, 1_000_000), (900, 1, 4_000), (0, 7, 131_072), (3, 400, 4_096)] {
        let mut steps = 0;
        let found = largest::<usize, ()>(1..=usize::MAX, room, |units| {
            steps += 1;
            Ok((fixed + each * units, units))
        });
        let units = found.unwrap().unwrap();
        assert!(fixed + each * units <= room && fixed + each * (units + 1) + room / SLACK > room, "{units}");
        assert!(steps <= 16, "{steps} steps to {units}");
    }
    assert_eq!(largest::<(), ()>(5..=usize::MAX, 10, |_| Ok((11, ()))), Ok(None));
}
