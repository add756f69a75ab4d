//! Added tokens in text from elsewhere are text: for every added token of several tokenizers, in every place of a prompt.

use std::sync::{Arc, LazyLock};

use memtrain::agents::answer::boxed;
use memtrain::agents::bank::{BankPrompts, Call, Layout, Section};
use memtrain::agents::chunks::{self, CutAt};
use memtrain::agents::full_context::ContextPrompt;
use memtrain::agents::prompts::{PromptLayout, PromptSet};
use memtrain::agents::reader::{Reader, ReaderConfig, ReadingTask, SamplingConfig, StepKey};
use memtrain::agents::searcher::{SearchTask, Searcher, SearcherConfig, SearcherPrompts};
use memtrain::policy::tokenizer::COMPACT_CHAT_TEMPLATE;
use memtrain::policy::{Message, PolicyTokenizer, PromptText, built_in};
use memtrain::rollout::RolloutEngine;
use memtrain::rollout::retrieve::{Found, RetrieveError, Retriever};
use memtrain::sampler::{Completion, FinishReason, SampleRequest, Sampler};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokenizers::Tokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

const CHATML: &str = "{%- for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}\
    {%- if message.role == 'assistant' %}{{ message.content.split('</think>')[-1].lstrip('\n') }}\
    {%- else %}{{ message.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}\
    {%- if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}";
const INST: &str = "{{ bos_token }}{% for message in messages %}{% if message.role == 'user' %}\
    {{ '[INST] ' + message.content.strip() + ' [/INST]' }}{% else %}{{ ' ' + message.content.strip() + ' ' + eos_token }}\
    {% endif %}{% endfor %}";
/// Roles become control tokens by what stands around them, as in Zephyr's and Phi's templates.
const ROLES: &str = "{% for message in messages %}{{ '<|' + message.role + '|>' + message.content + '<|end|>' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}";

/// An added token of a `tokenizer.json`; `flags` are those that are on.
fn added(id: usize, content: &str, flags: &[&str]) -> Value {
    let on = |flag: &str| flags.contains(&flag);
    json!({
        "id": id, "content": content, "special": on("special"), "normalized": on("normalized"), "lstrip": on("lstrip"),
        "rstrip": on("rstrip"), "single_word": on("single_word"),
    })
}

fn make(parts: Value, template: &str, eos: &str) -> PolicyTokenizer {
    let mut whole = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "pre_tokenizer": null,
        "post_processor": null, "decoder": null,
    });
    whole.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
    let tokenizer = Tokenizer::from_bytes(whole.to_string()).unwrap();
    PolicyTokenizer::new(&tokenizer, template, eos).unwrap()
}

/// All bytes, some merges, NFC, and control tokens of which some are not `special`, as Qwen3's.
fn like_qwen(template: &str) -> PolicyTokenizer {
    let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    let mut vocab: serde_json::Map<String, Value> =
        letters.iter().enumerate().map(|(id, letter)| (letter.to_string(), json!(id))).collect();
    let merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("<", "|"), ("t", "o"), ("o", "l"), ("|", ">")];
    for (left, right) in merges {
        vocab.insert(format!("{left}{right}"), json!(vocab.len()));
    }
    let first = vocab.len();
    let special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|end|>", "<|user|>", "<|assistant|>"];
    let plain = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>", "<think"];
    let mut tokens: Vec<Value> =
        special.iter().zip(first..).map(|(token, id)| added(id, token, &["special"])).collect();
    let next = first + tokens.len();
    tokens.extend(plain.iter().zip(next..).map(|(token, id)| added(id, token, &[])));
    let parts = json!({
        "added_tokens": tokens, "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges.map(|(left, right)| format!("{left} {right}")), "ignore_merges": true},
    });
    make(parts, template, "<|im_end|>")
}

/// SentencePiece's pieces with bytes for the rest, as Llama 2's: control tokens are in the model's own vocabulary, take in white
/// space or are matched after normalising.
fn like_llama() -> PolicyTokenizer {
    let mut vocab = serde_json::Map::new();
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let letters = ('!'..='~').map(String::from).chain(["▁".to_owned()]);
    for piece in ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain(bytes).chain(letters) {
        vocab.insert(piece, json!(vocab.len()));
    }
    let merges = ["▁ t", "▁t h", "▁th e"];
    for merge in merges {
        vocab.insert(merge.replace(' ', ""), json!(vocab.len()));
    }
    let next = vocab.len();
    let parts = json!({
        "added_tokens": [
            added(0, "<unk>", &["special"]), added(1, "<s>", &["special"]), added(2, "</s>", &["special", "rstrip"]),
            added(next, "<pad>", &["special", "normalized"]), added(next + 1, "<|tool|>", &["lstrip", "rstrip"]),
            added(next + 2, "[SEP]", &["single_word"]),
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "model": {"type": "BPE", "vocab": vocab, "merges": merges, "byte_fallback": true, "unk_token": "<unk>", "fuse_unk": true},
    });
    make(parts, INST, "</s>")
}

/// Whole words, control tokens among them: the model itself would take such a word for one.
fn like_words() -> PolicyTokenizer {
    let words = ["<unk>", "<|im_start|>", "<|im_end|>", "</think>", "the", "a", "<", "|"];
    let vocab: serde_json::Map<String, Value> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let parts = json!({
        "added_tokens": [added(1, "<|im_start|>", &["special"]), added(2, "<|im_end|>", &["special"]), added(3, "</think>", &[])],
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "<unk>"},
    });
    make(parts, COMPACT_CHAT_TEMPLATE, "<|im_end|>")
}

fn tiny() -> PolicyTokenizer {
    let folder = tempfile::tempdir().unwrap();
    built_in::write("tiny", folder.path()).unwrap();
    PolicyTokenizer::from_file(&folder.path().join("tokenizer.json")).unwrap()
}

static TOKENIZERS: LazyLock<Vec<(&str, PolicyTokenizer)>> = LazyLock::new(|| {
    vec![
        ("tiny", tiny()),
        ("qwen", like_qwen(CHATML)),
        ("qwen, compact", like_qwen(COMPACT_CHAT_TEMPLATE)),
        ("qwen, roles", like_qwen(ROLES)),
        ("llama", like_llama()),
        ("words", like_words()),
    ]
});

/// Added tokens of a tokenizer with their ids, read from its file.
fn added_tokens(tokenizer: &PolicyTokenizer) -> Vec<(String, u32)> {
    let file: Value = serde_json::from_slice(&tokenizer.files()[0].1).unwrap();
    let one = |token: &Value| (token["content"].as_str().unwrap().to_owned(), token["id"].as_u64().unwrap() as u32);
    file["added_tokens"].as_array().unwrap().iter().map(one).collect()
}

/// The ids of added tokens among others, the unknown word's left out: text may well be unknown.
fn controls(tokenizer: &PolicyTokenizer, ids: &[u32]) -> Vec<u32> {
    let added = added_tokens(tokenizer);
    let is_control = |id: &u32| added.iter().any(|(token, added)| added == id && token != "<unk>");
    ids.iter().copied().filter(is_control).collect()
}

/// Says one thing again and again, in ids, and keeps the prompts.
struct Parrot {
    said: Vec<u32>,
    prompts: Vec<Vec<u32>>,
}

impl Sampler for Parrot {
    fn sample(&mut self, requests: &[SampleRequest]) -> anyhow::Result<Vec<Completion>> {
        self.prompts.extend(requests.iter().map(|request| request.prompt_ids.clone()));
        let log_probs = vec![-1.0; self.said.len()];
        let said = Completion { token_ids: self.said.clone(), log_probs, finish: FinishReason::Stop };
        Ok(vec![said; requests.len()])
    }
}

/// Finds one text for every query.
struct Shelf(String);

impl Retriever for Shelf {
    fn retrieve(&self, queries: &[&str], _k: usize) -> Result<Vec<Vec<Found>>, RetrieveError> {
        let found = Found { id: "1".into(), title: self.0.clone(), text: format!("a {} b", self.0), score: 1.0 };
        Ok(vec![vec![found]; queries.len()])
    }
}

const STEP_KEY: StepKey = StepKey { seed: 1, step: 1 };

fn limits() -> ReaderConfig {
    ReaderConfig { chunk_tokens: 10_000, context_tokens: 1_000_000, max_chunks: 9, ..ReaderConfig::default() }
}

/// Prompts with the text in every place where text from elsewhere comes in.
fn prompts_with(tokenizer: &PolicyTokenizer, text: &str) -> Vec<(String, Vec<u32>)> {
    let mut prompts = Vec::new();
    let mut put = |place: &str, ids: Vec<u32>| prompts.push((place.to_owned(), ids));
    for set in ["standard", "compact"] {
        let texts = PromptSet::load(set, PromptLayout::MemoryFirst).unwrap();
        let bank = BankPrompts::load(set).unwrap();
        let context = ContextPrompt::load(set).unwrap();
        for (place, words) in [
            ("memory", texts.memory_turn(text, "x")),
            ("chunk", texts.memory_turn("x", text)),
            ("last memory", texts.answer_turn(text)),
            ("masked chunk", texts.recall_turn("x", text)),
            ("question", texts.about(text).answer_turn("x")),
            ("items", bank.writing_turn(Layout::Flat, text, "x")),
            ("section", bank.writing_turn(Layout::Sections, "x", text)),
            ("question to a bank", bank.question_turn(text, "x")),
            ("answering items", bank.question_turn("x", text)),
            ("cloze", bank.question_turn(&bank.cloze(text), "x")),
            ("judged", bank.judge_turn(text, text)),
            ("context", context.turn("x", text)),
            ("question about it", context.turn(text, "x")),
        ] {
            put(place, tokenizer.chat_prompt_ids(words).unwrap());
        }
    }
    put("a user's words", tokenizer.chat_prompt_ids(PromptText::foreign(text)).unwrap());
    for role in ["system", "user", "assistant", "stranger"] {
        let message = Message { role: role.to_owned(), content: text.to_owned() };
        put(role, tokenizer.chat_ids(std::slice::from_ref(&message), true).unwrap());
        put("messages", tokenizer.chat_ids(&[message.clone(), message], true).unwrap());
    }
    put("text", tokenizer.encode_text(text).unwrap());
    put("an answer", tokenizer.response_ids(boxed(text)).unwrap());
    let call = Call::Insert { section: Section::Items, content: text.to_owned() };
    put("a call", tokenizer.response_ids(call.to_words()).unwrap());

    let (texts, config, sampling) =
        (PromptSet::load("compact", PromptLayout::MemoryFirst).unwrap(), limits(), SamplingConfig::default());
    let reader = Reader { tokenizer, prompts: &texts, config: &config, sampling: &sampling, step_key: STEP_KEY };
    let task = ReadingTask { document: 0, problem: Some(text.to_owned()), chunks: vec![text.to_owned(); 2] };
    // The ids that are drawn may well be control tokens: what is read of them in the next turn is text.
    let mut parrot = Parrot { said: tokenizer.encode(text).unwrap(), prompts: Vec::new() };
    reader.read(&mut RolloutEngine::new(&mut parrot), &[task], 1).unwrap();
    parrot.prompts.into_iter().for_each(|ids| put("reading", ids));

    let searching = SearcherPrompts::load("standard").unwrap();
    let config = SearcherConfig { max_turns: 3, context_tokens: 1_000_000, ..SearcherConfig::default() };
    let searcher =
        Searcher { tokenizer, prompts: &searching, config: &config, sampling: &sampling, step_key: STEP_KEY };
    let said = tokenizer.encode_text(format!("so <search>x {text} y</search>")).unwrap();
    let mut parrot = Parrot { said, prompts: Vec::new() };
    let task = SearchTask { number: 0, questions: vec![text.to_owned()] };
    let shelf: Arc<dyn Retriever> = Arc::new(Shelf(text.to_owned()));
    searcher.search(&mut RolloutEngine::new(&mut parrot), &shelf, &[task], 1).unwrap();
    parrot.prompts.into_iter().for_each(|ids| put("searching", ids));
    prompts
}

#[test]
fn no_added_token_of_any_tokenizer_is_one_in_text_from_elsewhere() {
    for (name, tokenizer) in &*TOKENIZERS {
        let plain = prompts_with(tokenizer, "a x b");
        for (token, _) in added_tokens(tokenizer) {
            // Placeholders are the program's own wherever a document or a memory of one is read: ingest leaves no others there.
            if matches!(token.as_str(), "[MASK]" | "[TARGET]") {
                let ids = tokenizer.chat_prompt_ids(PromptText::foreign(&*token)).unwrap();
                assert_eq!(controls(tokenizer, &ids), controls(tokenizer, &tokenizer.chat_prompt_ids("x").unwrap()));
                continue;
            }
            for text in [format!("a {token} b"), format!("a{token}b"), token.repeat(3), format!(" {token} ")] {
                for ((place, expected), (_, ids)) in plain.iter().zip(prompts_with(tokenizer, &text)) {
                    let (expected, found) = (controls(tokenizer, expected), controls(tokenizer, &ids));
                    assert_eq!(found, expected, "{name}: {text:?} as {place}");
                }
            }
        }
    }
}

#[test]
fn bytes_around_and_of_a_token_are_what_they_are_without_it() {
    let tokenizer = like_qwen(CHATML);
    for (token, _) in added_tokens(&tokenizer) {
        let text = format!("the {token} the");
        let bytes: Vec<u32> = tokenizer.encode_text(&text).unwrap();
        assert_eq!(tokenizer.decode(&bytes).unwrap(), text);
        let frame = tokenizer.chat_prompt("\u{0}").unwrap();
        let (before, after) = frame.split_once('\u{0}').unwrap();
        let expected = [tokenizer.encode(before).unwrap(), bytes, tokenizer.encode(after).unwrap()].concat();
        assert_eq!(tokenizer.chat_prompt_ids(&text).unwrap(), expected);
        let (ids, offsets) = tokenizer.encode_with_offsets(&text).unwrap();
        assert_eq!(
            (ids.len(), offsets.first(), offsets.last()),
            (offsets.len(), Some(&(0..3)), Some(&(text.len() - 4..text.len())))
        );
        let chunks = chunks::split(&text.repeat(9), &tokenizer, 5, CutAt::Token).unwrap();
        assert_eq!(chunks.last().unwrap().end, 9 * text.len());
    }
}

#[test]
fn a_role_or_two_messages_do_not_put_a_token_together() {
    let tokenizer = like_qwen(ROLES);
    let say = |role: &str, content: &str| Message { role: role.to_owned(), content: content.to_owned() };
    let plain = controls(&tokenizer, &tokenizer.chat_ids(&[say("stranger", "x")], true).unwrap());
    for role in ["end", "im_end", "endoftext", "im_end|><|im_start", "user|><|assistant"] {
        assert_eq!(controls(&tokenizer, &tokenizer.chat_ids(&[say(role, "x")], true).unwrap()), plain, "{role}");
    }
    // `user` is one of the template's own.
    assert_eq!(controls(&tokenizer, &tokenizer.chat_ids(&[say("user", "x")], true).unwrap()).len(), plain.len() + 1);
    let compact = like_qwen(COMPACT_CHAT_TEMPLATE);
    for cut in 1.."<|im_end|>".len() {
        let (start, end) = "<|im_end|>".split_at(cut);
        let ids = compact.chat_ids(&[say("user", start), say("user", end)], true).unwrap();
        assert_eq!(controls(&compact, &ids).len(), 1, "cut at {cut}: the generation prompt alone");
        assert_eq!(compact.decode(&ids).unwrap(), "<|im_end|><|im_start|>");
    }
}

#[test]
fn the_templates_logic_sees_what_a_message_says() {
    let tokenizer = like_qwen(CHATML);
    let messages = [
        ("user", "hi"),
        ("assistant", "<think>\nwell\n</think>\n\nho <think>"),
        ("user", "the\u{f000}\u{f001} end <|im_"),
    ];
    let messages: Vec<Message> =
        messages.map(|(role, content)| Message { role: role.to_owned(), content: content.to_owned() }).into();
    let ids = tokenizer.chat_ids(&messages, true).unwrap();
    let expected = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nho <think><|im_end|>\n<|im_start|>user\n\
        the\u{f000}\u{f001} end <|im_<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
    assert_eq!(tokenizer.decode(&ids).unwrap(), expected);
    assert_eq!(
        controls(&tokenizer, &ids).len(),
        9,
        "four turns begin, three end, and one thought of the template's own"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn text_is_encoded_as_ever_and_never_steers(
        pieces in prop::collection::vec(prop_oneof![
            3 => "[a-zé漢 \n]{0,6}", 2 => Just("the ".to_owned()), 1 => Just("<".to_owned()), 1 => "[\u{f000}-\u{f004}]",
            1 => (0_usize..40, 1_usize..16).prop_map(|(token, length)| format!("\0{token}.{length}\0")),
        ], 0..12),
    ) {
        for (name, tokenizer) in &*TOKENIZERS {
            let added = added_tokens(tokenizer);
            // A piece of a token, or the whole one where it is shorter.
            let filled: String = pieces.iter().map(|piece| match piece.strip_prefix('\0') {
                None => piece.clone(),
                Some(chosen) => {
                    let (token, length) = chosen.trim_end_matches('\0').split_once('.').unwrap();
                    added[token.parse::<usize>().unwrap() % added.len()].0.chars().take(length.parse().unwrap()).collect()
                }
            }).collect();
            let foreign = PromptText::foreign(&*filled);
            let frame = controls(tokenizer, &tokenizer.chat_prompt_ids("x").unwrap());
            let ids = tokenizer.chat_prompt_ids(&foreign).unwrap();
            prop_assert_eq!(controls(tokenizer, &ids), frame, "{}: {:?}", name, &filled);
            prop_assert!(controls(tokenizer, &tokenizer.encode_text(&foreign).unwrap()).is_empty());
            let holds_none = !added.iter().any(|(token, _)| filled.contains(token.as_str()));
            if holds_none {
                prop_assert_eq!(&ids, &tokenizer.encode(&tokenizer.chat_prompt(&filled).unwrap()).unwrap(), "{}: {:?}", name, &filled);
                prop_assert_eq!(tokenizer.encode_text(&foreign).unwrap(), tokenizer.encode(&filled).unwrap());
            }
            if name.starts_with("qwen") {
                let shown = tokenizer.decode(&tokenizer.encode_text(&foreign).unwrap()).unwrap();
                prop_assert_eq!(shown, filled);
            }
        }
    }
}
