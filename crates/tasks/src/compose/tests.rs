use proptest::prelude::*;

use super::*;
use crate::Question;

fn passage(title: &str, text: &str) -> ContextPassage {
    ContextPassage { title: title.into(), text: text.into() }
}

/// A question with two gold passages between two distractors.
fn task(id: usize) -> Task {
    let own =
        |kind: &str, number: usize| passage(&format!("{kind} {id}.{number}"), &format!("{kind} words {id} {number}"));
    Task {
        id: format!("task-{id}"),
        source: "test".into(),
        questions: vec![Question { text: "where?".into(), answers: vec!["there".into()] }],
        kind: ContextKind::Passages,
        passages: vec![own("other", 0), own("gold", 1), own("other", 2), own("gold", 3)],
        gold: vec![1, 3],
        length: 0,
        extra: Default::default(),
    }
}

fn pool(size: usize) -> Pool {
    let mut pool = Pool::default();
    (0..size).for_each(|number| pool.add(passage(&format!("pool {number}"), &format!("pool words {number}"))));
    pool
}

fn config(lengths: &[u32], seed: u64) -> ComposeConfig {
    ComposeConfig { lengths: lengths.to_vec(), questions: None, own_distractors: true, seed }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn contexts_hold_the_gold_once_and_nothing_like_it(id in 0..1000_usize, seed: u64, own: bool) {
        let task = task(id);
        let mut pool = pool(40);
        // Temptations: the gold's title with other words, and its words under another title.
        pool.add(passage(&format!("GOLD {id}.1!"), "quite other words"));
        pool.add(passage("elsewhere", &format!("Gold words {id}  3.")));
        let config = ComposeConfig { own_distractors: own, ..config(&[4, 9, 30], seed) };
        let composed = compose(&task, &pool, &config).unwrap();
        prop_assert_eq!(&composed, &compose(&task, &pool, &config).unwrap(), "the same again");
        let texts = |task: &Task| task.passages.iter().map(|passage| passage.text.clone()).collect::<HashSet<_>>();
        for (one, &length) in composed.iter().zip(&config.lengths) {
            prop_assert_eq!(one.passages.len(), length as usize);
            prop_assert_eq!(one.length, length);
            prop_assert_eq!(&one.id, &task.id);
            prop_assert_eq!(&one.questions, &task.questions);
            prop_assert_eq!(texts(one).len(), length as usize, "no passage twice");
            let gold: HashSet<&str> = one.gold.iter().map(|&at| one.passages[at as usize].text.as_str()).collect();
            let expected: HashSet<&str> = [1, 3].into_iter().map(|at: usize| task.passages[at].text.as_str()).collect();
            prop_assert_eq!(gold, expected);
            prop_assert!(!one.passages.iter().any(|passage| passage.title == "elsewhere" || passage.title.starts_with("GOLD")));
            let others = one.passages.iter().filter(|passage| passage.title.starts_with("other")).count();
            prop_assert_eq!(others, if own { 2 } else { 0 });
            prop_assert!(one.check().is_ok());
        }
        prop_assert!(texts(&composed[0]).is_subset(&texts(&composed[1])));
        prop_assert!(texts(&composed[1]).is_subset(&texts(&composed[2])));
    }
}

#[test]
fn gold_passages_are_equally_likely_everywhere() {
    const ITEMS: usize = 2_000;
    const LENGTH: u32 = 20;
    let pool = pool(60);
    let mut counts = [0_u32; LENGTH as usize];
    let mut first = 0_u32;
    for id in 0..ITEMS {
        let composed = compose(&task(id), &pool, &config(&[LENGTH], 7)).unwrap().swap_remove(0);
        composed.gold.iter().for_each(|&place| counts[place as usize] += 1);
        let gold_one = composed.passages.iter().position(|passage| passage.title.starts_with("gold")).unwrap();
        first += u32::from(gold_one < 5);
    }
    let expected = 2.0 * ITEMS as f64 / f64::from(LENGTH);
    let chi_square: f64 = counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
    // 19 degrees of freedom: 43.8 is passed once in a thousand times. The two places of an item are not independent,
    // which makes the statistic smaller, not larger.
    assert!(chi_square < 43.8, "{counts:?}: {chi_square}");
    assert!(chi_square > 3.0, "suspiciously even: {counts:?}");
    // The first of two among the first 5 of 20: 1 − C(15, 2) / C(20, 2) = 0.447, s.e. 0.011.
    assert!((f64::from(first) / ITEMS as f64 - 0.447).abs() < 0.045, "{first}");
}

#[test]
fn an_item_is_the_same_whatever_else_is_there_and_fewer_questions_are_the_first_of_more() {
    let tasks: Vec<Task> = (0..50).map(task).collect();
    let mut backwards = tasks.clone();
    backwards.reverse();
    let many = choose(tasks, &ComposeConfig { questions: Some(20), ..config(&[4], 3) });
    let few = choose(backwards, &ComposeConfig { questions: Some(6), ..config(&[4], 3) });
    assert_eq!(few.tasks, many.tasks[..6]);
    assert_ne!(few.tasks[0].id, "task-0", "drawn, not the first of the file (a chance of 1 in 50 that this is luck)");
    let without = Task { passages: Vec::new(), gold: Vec::new(), kind: ContextKind::None, ..task(60) };
    let chosen = choose(vec![without, task(1), task(2)], &config(&[1], 0));
    assert_eq!((chosen.tasks.len(), chosen.without_passages, chosen.too_many_gold), (0, 1, 2));
}

#[test]
fn a_pool_that_is_too_small_is_named() {
    let error = compose(&task(1), &pool(10), &config(&[4, 100], 0)).unwrap_err();
    assert!(error.to_string().contains("needs 86 more than the pool of 10"), "{error}");
}

#[test]
fn pools_come_from_files_of_many_forms() {
    use memtrain_corpora::store;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool.json");
    let forms = [
        r#"{"A": ["One.", " Two."], "B": "Three."}"#,
        "{\"title\": \"A\", \"text\": \"One. Two.\"}\n{\"title\": \"B\", \"paragraph_text\": \"Three.\"}\nnonsense\n",
        r#"[{"title": "A", "text": "One. Two."}, {"id": "7", "contents": "\"B\"\nThree."}, {"title": "A", "text": "ONE two"}]"#,
    ];
    for (form, repeated, unusable) in [(forms[0], 0, 0), (forms[1], 0, 1), (forms[2], 1, 0)] {
        store::write_atomic(&path, form).unwrap();
        let mut pool = Pool::default();
        pool.add_source(&path).unwrap();
        assert_eq!(pool.passages(), [passage("A", "One. Two."), passage("B", "Three.")], "{form}");
        assert_eq!((pool.repeated(), pool.unusable()), (repeated, unusable), "{form}");
    }
    store::write_atomic(&path, "nothing").unwrap();
    assert!(Pool::default().add_source(&path).unwrap_err().to_string().contains("no passages in"));
}
