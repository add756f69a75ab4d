//! Every key of the configuration: unit, meaning, and what another value of it does to a run that has begun.
//!
//! The JSON schema and `docs/configuration.md` are made from this table, and [`classes`] is what a run goes by when it is
//! started again. Types, defaults, choices and bounds come from the types themselves ([`super::reference`]). A key that is not
//! here fails a test.

use crate::config::Config;
use crate::config::renamed::earlier_name;
use crate::optim::Decay;
use crate::run::{KeyClass, KeyClasses};
use memtrain_train::Overlap;

use InRun::{Checkpoints, Free, Length, Maths, Origin, Rounding, SftLength, SftMaths};

/// What another value of a key does to a run that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InRun {
    /// Nothing.
    Free,
    /// Other rounding.
    Rounding,
    /// Nothing, as long as these inputs have the same contents.
    Place(&'static [&'static str]),
    /// Steps of training: nothing where the learning rate does not depend on them.
    Length,
    /// Steps of SFT: the same for its runs, nothing for others.
    SftLength,
    /// Steps with a checkpoint: nothing where no step is sampled before the one ahead of it is trained.
    Checkpoints,
    /// Other steps.
    Maths,
    /// Other steps of SFT, nothing for other runs.
    SftMaths,
    /// Another policy or other kinds of numbers: not even a branch goes on from it.
    Origin,
}

/// The command that a run belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trainer {
    /// `memtrain train`.
    Train,
    /// `memtrain sft`.
    Sft,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// With its sections.
    pub name: &'static str,
    /// Unit; empty where it has none.
    pub unit: &'static str,
    /// Effect in a run.
    pub in_run: InRun,
    /// Meaning, in Markdown.
    pub meaning: &'static str,
}

const fn key(name: &'static str, unit: &'static str, in_run: InRun, meaning: &'static str) -> Key {
    Key { name, unit, in_run, meaning }
}

const fn place(name: &'static str, inputs: &'static [&'static str], meaning: &'static str) -> Key {
    key(name, "", InRun::Place(inputs), meaning)
}

/// All keys, by section.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    key("include", "", Free, "Configurations that this one builds on, by path from this file; later ones and this file win."),

    key("run.name", "", Free, "Name of the run: its folder in `run.runs`."),
    key("run.runs", "", Free, "Folder of the run folders."),
    place("run.corpus", &["documents", "what is searched"], "Folder of the corpus: one folder a stage."),
    key("run.seed", "", Maths, "Seed of the training's random numbers, and of a policy made from nothing."),

    key("world.seed", "", Free, "Seed of the fictional encyclopedia."),
    key("world.num_pages", "pages", Free, "Articles of entities, without redirects and annals."),
    key("world.lead_sentences", "sentences", Free, "Sentences before the first heading: fewest and most."),
    key("world.sections", "sections", Free, "Sections after the lead: fewest and most."),
    key("world.section_sentences", "sentences", Free, "Sentences of a section: fewest and most."),
    key("world.annals.seed", "", Free, "Seed of what happens: another one is other news of the same world."),
    key("world.annals.years", "years", Free, "Years a person, each a page of its own; 0 writes no annals."),
    key("world.annals.signs", "seasons", Free, "Seasons of a year, of four, that say once who is spoken of."),

    key("corpus.seed", "", Free, "Seed of every draw of the corpus."),
    key("corpus.workers", "threads", Free, "Threads; 0 takes all cores. Never changes what is written."),
    key("corpus.ingest.dumps", "", Free, "Files, folders or patterns: MediaWiki XML, packed or not, Parquet, JSON lines, WikiExtractor."),
    key("corpus.ingest.accept_truncated", "", Free, "Go on with dumps that break off in the middle, with every whole page of them."),
    key("corpus.ingest.bytes_per_shard", "bytes", Free, "Packed bytes that a shard reads, about; 0: a 64th of all, 8 to 128 MiB."),
    key("corpus.ingest.min_words", "words", Free, "Fewest words of a passage."),
    key("corpus.ingest.max_words", "words", Free, "Most words of a passage."),
    key("corpus.ingest.short_passages", "", Free, "What becomes of shorter rests of sections."),
    key("corpus.ingest.passage_share", "share", Free, "Passages that are kept of all, drawn by article and place."),
    key("corpus.ingest.drop_sections", "", Free, "Titles of sections to leave out, beside those known in many languages."),
    key("corpus.ingest.tables", "", Free, "Tables: dropped, or kept as a line a row."),
    key("corpus.ingest.infoboxes", "", Free, "Boxes of facts: dropped, or kept as a line a fact."),
    key("corpus.ingest.math", "", Free, "Formulas: dropped, those that can be written in a line, or as TeX."),
    key("corpus.ingest.pronunciations", "", Free, "How words are pronounced (`[paʁi]`): dropped or kept."),
    key("corpus.entities.backend", "", Free, "What finds entities: links and rules, an encoder, or the crate `rust-bert`."),
    key("corpus.entities.model", "", Free, "Folder or hub name of the model of `bert` and `rust-bert`."),
    key("corpus.entities.spans", "", Free, "`spans`: file of spans of another recognizer."),
    key("corpus.entities.language", "", Free, "Language of the text (`en` …); empty: by addresses of articles, else as it looks."),
    key("corpus.entities.passages_per_shard", "passages", Free, "Passages a shard."),
    key("corpus.entities.min_chars", "characters", Free, "Fewest characters of a gazetteer entry."),
    key("corpus.entities.max_words", "words", Free, "Most words of a gazetteer entry."),
    key("corpus.entities.min_anchor_count", "links", Free, "Links to a page with a surface from which on it counts as a name of the page."),
    key("corpus.entities.stop_words", "", Free, "Words that are never an entity by themselves, beside the built-in list."),
    key("corpus.entities.rules", "", Free, "Find numbers, dates, quantities, percentages and money by rules."),
    key("corpus.entities.bert.device", "", Free, "What the encoder computes on: `cpu`, `cuda` or `cuda:N`."),
    key("corpus.entities.bert.batch_tokens", "tokens", Free, "Most tokens of a forward pass, padding included."),
    key("corpus.entities.bert.max_tokens", "tokens", Free, "Most tokens of a window; 0 for the model's own limit."),
    key("corpus.entities.bert.aggregation", "", Free, "How the tokens of a word agree on a label."),
    key("corpus.entities.bert.labels", "", Free, "What labels of the model mean where their names do not say: `{ Disease = \"MISC\" }`."),
    key("corpus.entities.bert.min_score", "probability", Free, "Least mean probability of a mention."),
    key("corpus.tokenizer.source", "", Free, "`train`, or the `tokenizer.json` or model folder to take."),
    key("corpus.tokenizer.vocab_size", "tokens", Free, "Size of a trained vocabulary."),
    key("corpus.tokenizer.min_frequency", "pairs", Free, "Fewest occurrences of a pair that is merged."),
    key("corpus.tokenizer.added_words", "", Free, "Words that are one token each in a trained tokenizer."),
    key("corpus.tokenizer.max_passages", "passages", Free, "Most passages to train a tokenizer on, at even distances."),
    key("corpus.index.method", "", Free, "Ranking: BM25, embeddings, or both fused."),
    key("corpus.index.language", "", Free, "Language of stemming and stop words; `auto`: that of the wiki."),
    key("corpus.index.max_query_terms", "words", Free, "Words of a passage that make its query, the most telling first."),
    key("corpus.index.writer_memory_mib", "MiB", Free, "Memory of the index writer of each shard that is being built."),
    key("corpus.index.passages_per_shard", "passages", Free, "Passages a shard."),
    key("corpus.index.fusion_k", "ranks", Free, "k of reciprocal-rank fusion, Σ 1/(k + rank)."),
    key("corpus.index.fusion_depth", "hits", Free, "Hits of each ranking that enter the fusion, at least."),
    key("corpus.index.exclude_same_article", "", Free, "Leave out passages of the same article among related ones."),
    key("corpus.index.near_copy_similarity", "Jaccard index", Free, "Common word triples of near copies; 0 for off."),
    key("corpus.index.embed.backend", "", Free, "Embeddings: built in, an encoder by candle, or ONNX by fastembed."),
    key("corpus.index.embed.dimensions", "", Free, "`builtin`: length of a vector."),
    key("corpus.index.embed.fit_passages", "passages", Free, "`builtin`: passages that it learns from, evenly spaced."),
    key("corpus.index.embed.max_terms", "words", Free, "`builtin`: words with a vector of their own, the most frequent first."),
    key("corpus.index.embed.context", "share", Free, "`builtin`: part of a word's vector that comes from words beside it."),
    key("corpus.index.embed.seed", "", Free, "`builtin`: seed of the random directions."),
    key("corpus.index.embed.model", "", Free, "`candle`, `fastembed`: folder or hub name of the model."),
    key("corpus.index.embed.pooling", "", Free, "`candle`, `fastembed`: how vectors of tokens become one."),
    key("corpus.index.embed.query_prefix", "", Free, "`candle`, `fastembed`: what stands before a query (E5: `query: `)."),
    key("corpus.index.embed.passage_prefix", "", Free, "`candle`, `fastembed`: what stands before a passage (E5: `passage: `)."),
    key("corpus.index.embed.max_tokens", "tokens", Free, "`candle`, `fastembed`: longest text; 0 for the model's own limit."),
    key("corpus.index.embed.runtime", "", Free, "`fastembed`: library of the ONNX runtime; `ORT_DYLIB_PATH` without it."),
    key("corpus.index.embed.batch_tokens", "tokens", Free, "`candle`: most tokens of a forward pass, padding included."),
    key("corpus.index.embed.device", "", Free, "`candle`: `cpu`, `cuda` or `cuda:N`."),
    key("corpus.index.ann.min_passages", "passages", Free, "Shards of fewer are searched through, without short codes of vectors."),
    key("corpus.index.ann.candidates", "vectors", Free, "Vectors of the nearest codes that a query is compared with."),
    key("corpus.synthesize.num_train", "documents", Free, "Training documents."),
    key("corpus.synthesize.num_heldout", "documents", Free, "Held-out documents."),
    key("corpus.synthesize.heldout_fraction", "share", Free, "Articles whose passages are pivots of held-out documents only."),
    key("corpus.synthesize.num_related", "passages", Free, "Retrieved passages a document; never fewer."),
    key("corpus.synthesize.num_random", "passages", Free, "Random passages a document; more or fewer where the token window asks for it."),
    key("corpus.synthesize.min_tokens", "tokens", Free, "Fewest tokens of a document."),
    key("corpus.synthesize.max_tokens", "tokens", Free, "Most tokens of a document."),
    key("corpus.synthesize.layout", "", Free, "How a passage looks."),
    key("corpus.synthesize.separator", "", Free, "What stands between passages."),
    key("corpus.synthesize.case_sensitive", "", Free, "Compare the hidden entity with regard to case."),
    key("corpus.synthesize.mask_aliases", "", Free, "Hide redirect titles and anchor texts of the entity's article too."),
    key("corpus.synthesize.mask_forms", "", Free, "Hide other forms of the entity too: words derived from it, a family name alone, endings of cases."),
    key("corpus.synthesize.entities", "", Free, "Which mentions a document lists to be asked for."),
    key("corpus.synthesize.passages", "", Free, "Which passages documents are made of."),
    key("corpus.synthesize.evidence.min_passages", "passages", Free, "Fewest related passages that mention the hidden entity; 0 for any entity."),
    key("corpus.synthesize.evidence.max_passages", "passages", Free, "Most passages that are related because they mention it."),
    key("corpus.synthesize.evidence.max_same_article", "share", Free, "Related passages of the pivot's own article, at most."),
    key("corpus.synthesize.max_attempts", "draws", Free, "How often a rejected document is drawn anew under the same number."),
    key("corpus.synthesize.documents_per_shard", "documents", Free, "Documents a shard."),
    key("corpus.synthesize.eligible.labels", "", Free, "Kinds of entities that may be hidden and asked for."),
    key(
        "corpus.synthesize.eligible.min_chars",
        "characters",
        Free,
        "Fewest characters of such an entity; ideographs, kana and hangul count twice.",
    ),
    key("corpus.synthesize.eligible.max_chars", "characters", Free, "Most characters of such an entity."),
    key("corpus.synthesize.eligible.stop_list", "", Free, "Surfaces that are never hidden, without regard to case."),
    key("corpus.synthesize.eligible.min_passages", "passages", Free, "Fewest passages that mention such an entity."),
    key("corpus.synthesize.eligible.max_passages", "passages", Free, "Most passages that mention such an entity; 0 for no bound."),
    key("corpus.synthesize.eligible.max_words", "words", Free, "Most words of such an entity; 0 for no bound."),
    key("corpus.synthesize.eligible.max_in_passage", "occurrences", Free, "Most occurrences in the passage; 0 for no bound."),
    key("corpus.synthesize.eligible.small_letters", "", Free, "Take names that begin with a small letter."),
    key("corpus.synthesize.eligible.whole_names", "", Free, "Leave out names that stand beside another word with a capital."),
    key("corpus.synthesize.eligible.skip_date_pages", "", Free, "Take no pivots from pages that are called by a date or a number."),

    place("policy.path", &["policy", "tokenizer"], "Where to start: a Hugging Face folder or hub name, a checkpoint, or `built-in:tiny`."),
    key("policy.preset", "", Origin, "Without a path: the shape to make from nothing, with the corpus's tokenizer."),
    key("policy.precision", "", Origin, "Type of the weights in training; `bf16` keeps f32 masters in the optimizer."),
    key("policy.device", "", Rounding, "What computes: `cpu`, or `cuda:0` in a program that was built for it."),
    key("policy.template_date", "", Maths, "The day that chat templates are told which write today's."),
    key("policy.chat_template_kwargs", "", Maths, "What a chat template is given beside a conversation: `{ enable_thinking = false }`."),
    key("policy.lora.rank", "", Origin, "Trains low-rank adapters instead of the weights: their rank r."),
    key("policy.lora.alpha", "", Origin, "Adapters are scaled by α / r."),
    key("policy.lora.targets", "", Origin, "Matrices with an adapter."),

    place("reader.prompts", &["prompts"], "Prompt set: `standard`, `compact`, or a folder."),
    key("reader.chunk_tokens", "tokens", Maths, "Longest chunk."),
    key("reader.max_chunks", "chunks", Maths, "Most chunks of a document; a longer one is passed over and counted."),
    key("reader.truncation", "", Maths, "What becomes of a document of more chunks in training: passed over, or read without the tokens of its centre."),
    key("reader.memory_tokens", "tokens", Maths, "Longest memory: the response limit of a memory turn."),
    key("reader.answer_tokens", "tokens", Maths, "Response limit of the answer turn and of recall answers."),
    key("reader.context_tokens", "tokens", Maths, "Context that instructions, chunk, memory and response must fit."),
    key("reader.cut_at", "", Maths, "Where a chunk may end."),
    key("reader.prompt.layout", "", Maths, "What stands first in a prompt."),

    place("bank.prompts", &["prompts of the bank"], "Prompt set of objectives with a bank: `standard`, `compact`, or a folder."),
    key("bank.core_tokens", "tokens", Maths, "Longest core memory."),
    key("bank.recent_items", "items", Maths, "Newest items of each list that the writer is shown."),
    key("bank.retrieved_items", "items", Maths, "Items of each list that are retrieved for a question; 0: what the layout's paper has."),
    key("bank.retrieval", "", Maths, "How these items are found; `none` shows a question nothing but what is always shown."),
    key("bank.answerer.url", "", Free, "Server that answers and judges instead of the frozen reference. Its key: `MEMTRAIN_ANSWERER_KEY`."),
    key("bank.answerer.model", "", Maths, "Name of the model as the server has it; empty takes its first."),
    key("bank.answerer.concurrency", "requests", Free, "Requests under way at the same time."),
    key("bank.answerer.timeout_s", "s", Free, "Time after which an answer is no longer waited for."),
    key("bank.answerer.retries", "", Free, "How often a request is sent again that failed for a reason that may pass."),
    key("bank.answerer.backoff_s", "s", Free, "Time before it is sent again first; each time twice as long, 30 s at most."),
    key("bank.answerer.parameters", "", Maths, "What else is sent with each request."),

    place("searcher.prompts", &["prompts of the searcher"], "Prompt set of a searcher: `standard`, or a folder."),
    key("searcher.max_turns", "turns", Maths, "Most turns, the one that answers counted."),
    key("searcher.response_tokens", "tokens", Maths, "Longest response."),
    key("searcher.result_tokens", "tokens", Maths, "Longest results of a search; the rest is cut off."),
    key("searcher.topk", "passages", Maths, "Passages of a search."),
    key("searcher.context_tokens", "tokens", Maths, "Context that a prompt and its response must fit."),
    key("searcher.prompt_tokens", "tokens", Maths, "Longest prompt, of which the end is kept; 0 for no bound but the context."),

    place("search.corpus", &["what is searched"], "Folder of a corpus with an index, or of an index; `run.corpus` without it."),
    place("search.server", &[], "Address of a server with Search-R1's protocol, such as `memtrain serve-index`."),
    key("search.timeout_s", "s", Free, "Time that the server has for an answer."),

    key("sampling.temperature", "", Maths, "Temperature of rollouts; 0 is greedy."),
    key("sampling.top_p", "probability", Maths, "Nucleus probability; 1 keeps all."),
    key("sampling.top_k", "tokens", Maths, "Most probable tokens kept; 0 keeps all."),

    place("tasks.train", &["tasks"], "Task table to train on, instead of the corpus's documents."),
    place("tasks.heldout", &["tasks held out"], "Task table to evaluate on, instead of held-out documents."),

    key("sampler.kind", "", Maths, "Who samples: this process, or a server."),
    key("sampler.cache_gib", "GiB", Free, "Memory of keys and values; 0 takes half of what is free when sampling begins."),
    key("sampler.max_sequences", "sequences", Free, "Most sequences sampled at the same time."),
    key("sampler.http.url", "", Free, "Where the server is. Its key: `MEMTRAIN_SAMPLER_KEY`."),
    key("sampler.http.model", "", Free, "Name of the model as the server has it; empty takes its first."),
    key("sampler.http.dialect", "", Free, "How the server is spoken to."),
    key("sampler.http.concurrency", "requests", Free, "Requests under way at the same time."),
    key("sampler.http.timeout_s", "s", Free, "Time after which an answer is no longer waited for."),
    key("sampler.http.retries", "", Free, "How often a request is sent again that failed for a reason that may pass."),
    key("sampler.http.backoff_s", "s", Free, "Time before it is sent again first; each time twice as long, 30 s at most."),
    key("sampler.http.weights", "", Free, "Folder that weights are written to for the server; empty: `sampler-weights` in the run's."),
    key("sampler.http.reload", "", Free, "Calls that make the server read the weights; empty: those of the dialect."),
    key("sampler.http.max_mismatch", "nats a token", Free, "Greatest difference to the policy's log-probabilities; 0 does not ask."),
    key("sampler.http.lora", "", Free, "How a server gets adapters."),

    key("objective.kind", "", Maths, "The system that is trained."),
    key("objective.variant", "", Maths, "`memtrain`: which of its parts are trained."),
    key("objective.recall_weight", "", Maths, "`memtrain`: λ, weight of recall in a trajectory's reward."),
    key("objective.group_size", "rollouts", Maths, "Rollouts of an item, whose rewards are compared."),
    key("objective.recall_questions", "questions", Maths, "`memtrain`: recall questions of a trajectory."),
    key("objective.recall_shared", "", Maths, "`memtrain`: ask all readings of a document the same recall questions."),
    key("objective.recall_samples", "answers", Maths, "`memtrain`: answers to each recall question."),
    key("objective.recall_draw", "", Maths, "`memtrain`: how memory and chunk of a recall question are drawn."),
    key("objective.overlong_penalty", "reward", Maths, "`memtrain`: taken from the reward, times the share of memories cut off."),
    key("objective.repetition_penalty", "reward", Maths, "`memtrain`: taken from the reward, times the share of repeated sentences."),
    key("objective.unsupported_penalty", "reward", Maths, "`memtrain`: taken from the reward, times the share of sentences not read."),
    key("objective.recall_includes_current", "", Maths, "`memtrain`: ask about the chunk just read, too."),
    key("objective.gain_weight", "", Maths, "`infomem`: β, weight of the information gain."),
    key("objective.scorer", "", Maths, "`infomem`: whose log-probabilities the gain is made of."),
    key("objective.questions", "questions", Maths, "`finemem`, `memalpha`: questions of a document without labels."),
    key("objective.chunk_questions", "questions", Maths, "`finemem`: questions about each chunk."),
    key("objective.evidence_weight", "share", Maths, "`finemem`: part of the global reward for the steps that wrote the evidence."),
    key("objective.chunk_weight", "", Maths, "`finemem`: weight of the chunk reward."),
    key("objective.compression_weight", "", Maths, "`finemem`, `memalpha`: weight of compression."),
    key("objective.content_weight", "", Maths, "`memalpha`: weight of what is judged of contents."),
    key("objective.judge", "", Maths, "`memalpha`: who judges contents."),
    key("objective.grouping", "", Maths, "`memalpha`: what a group is."),
    key("objective.objectives", "questions", Maths, "`mem1`: questions that are asked together where tasks have one each."),
    key("objective.answer_count", "", Maths, "`mem1`: what becomes of answers that are too many or too few."),
    key("objective.equality", "", Maths, "When an answer is right."),
    key("objective.reward_scale", "", Maths, "What centred rewards are divided by."),
    key("objective.filter_groups", "", Maths, "Leave groups of equal rewards out of training."),

    key("reward.command", "", Maths, "A program with arguments that scores finished trajectories ([rewards](rewards.md))."),
    place("reward.url", &[], "Address of a server that the same JSON is posted to. Its key: `MEMTRAIN_REWARD_KEY`."),
    key("reward.weight", "", Maths, "Weight of the scores."),
    key("reward.built_in_weight", "", Maths, "Weight of the objective's own reward, where there are scores."),
    key("reward.batch", "trajectories", Free, "Most trajectories of a request."),
    key("reward.timeout_s", "s", Free, "Time after which an answer to a request is no longer waited for."),
    key("reward.retries", "", Free, "How often a request is sent again that failed for a reason that may pass."),
    key("reward.backoff_s", "s", Free, "Time before it is sent again first; each time twice as long, 30 s at most."),

    key("loss.clip_low", "", Maths, "ε_low: the ratio is clipped from below at 1 − ε_low."),
    key("loss.clip_high", "", Maths, "ε_high: the ratio is clipped from above at 1 + ε_high."),
    key("loss.dual_clip", "", Maths, "c of the dual clip; `inf` switches it off."),
    key("loss.kl_beta", "", Maths, "β of the KL penalty; at 0 no reference is loaded."),
    key("loss.kl_estimator", "", Maths, "How the KL divergence is estimated."),
    key("loss.kl_bias_correction", "", Maths, "Multiply the KL estimate by the ratio to the old policy."),
    key("loss.importance_cap", "", Maths, "Bound of the importance weight between sampler and trainer; 0 switches it off."),
    key("loss.aggregation", "", Maths, "How token losses are averaged."),
    key("loss.normalizer_tokens", "tokens", Maths, "L of `seq-mean-token-sum-norm`."),

    key("update.minibatches", "", Maths, "Mini-batches that a batch is split into, an optimizer step each."),
    key("update.epochs", "", Maths, "Passes over the batch."),
    key("update.old_log_probs", "", Maths, "Where old log-probabilities come from."),
    key("update.micro_batch_tokens", "tokens", Rounding, "Most tokens of a forward and backward pass."),
    key("update.activation_checkpointing", "", Free, "Keep the inputs of layers alone and compute the rest again in the backward pass."),
    key("update.max_gradient_norm", "", Maths, "Gradients are scaled down to this global norm; `inf` for none."),

    key("optimizer.learning_rate", "", Maths, "Peak learning rate."),
    key("optimizer.warmup_steps", "steps", Maths, "Steps of linear warm-up."),
    key("optimizer.decay", "", Maths, "What follows the warm-up, up to the last step."),
    key("optimizer.last_factor", "", Maths, "Factor of the learning rate at the end of the decay."),
    key("optimizer.beta1", "", Maths, "AdamW: decay of the first moment."),
    key("optimizer.beta2", "", Maths, "AdamW: decay of the second moment."),
    key("optimizer.eps", "", Maths, "AdamW: added to the root of the second moment."),
    key("optimizer.weight_decay", "", Maths, "AdamW: decoupled weight decay of matrices."),
    key("optimizer.moments", "", Origin, "Type of the moments; `bf16` rounds stochastically, for half the memory."),
    key("optimizer.offload_moments", "", Rounding, "Keep the moments in the host's memory instead of the device's."),

    key("train.steps", "steps", Length, "Steps of the run."),
    key("train.documents_per_step", "documents", Maths, "Documents, or tasks, a step."),
    key("train.max_refills", "rounds", Maths, "Further rounds of documents where filtered groups leave fewer (DAPO's dynamic sampling)."),
    key("train.overlap", "", Maths, "Sample the next step while this one is trained, one step off-policy."),
    key("train.gradient_sums", "", Rounding, "Order in which gradients of several processes are added up: `micro-batches`, that of one process, or `ranks`, with fewer exchanges."),
    key("train.checkpoint_every", "steps", Checkpoints, "Steps between checkpoints."),
    key("train.keep_last", "checkpoints", Free, "Newest checkpoints that stay; 0 keeps all."),
    key("train.keep_every", "steps", Free, "Checkpoints whose step is a multiple of this stay for good; 0 for none."),
    key("train.evaluate_every", "steps", Checkpoints, "Steps between evaluations, with a checkpoint each; 0 for none."),
    key("train.rollouts_every", "steps", Free, "Steps between rollout tables; 0 writes none."),
    key("train.log_samples", "steps", Free, "Steps between rollouts that are shown in the log; 0 shows none."),
    key("train.tensorboard", "", Free, "Write event files for TensorBoard."),
    key("train.watch_after_s", "s", Free, "Time without movement after which the log says what is waited for."),
    key("train.peak_tflops", "10¹² operations/s", Free, "What MFU is a share of; 0: known of a card, or measured of the processor."),

    key("eval.documents", "documents", Maths, "Held-out documents to read."),
    key("eval.recall_questions", "questions", Maths, "Recall questions a document."),
    key("eval.temperature", "", Maths, "Temperature of evaluations; 0 is greedy."),

    key("sft.steps", "steps", SftLength, "Steps of SFT."),
    key("sft.trajectories", "trajectories", SftMaths, "Trajectories to imitate a step."),
    key("sft.texts", "texts", SftMaths, "Stretches of plain text a step."),
    key("sft.repeat", "probability", SftMaths, "That a stretch is two passages and one of them again."),
    key("sft.text_weight", "", SftMaths, "Weight of plain text against demonstrations."),
    key("sft.answer_weight", "", SftMaths, "Weight of a token of an answer against a token of a memory."),
    key("sft.prompt_weight", "", SftMaths, "Weight of predicting the prompts of demonstrations."),
    key("sft.oracle.names_share", "share", SftMaths, "Trajectories whose memory is a list of names; others keep sentences."),
    key("sft.oracle.placeholder_first", "probability", SftMaths, "That sentences with the placeholder are taken first."),
    key("sft.oracle.forget", "probability", SftMaths, "That an item is forgotten at a turn although it would fit."),
    key("sft.oracle.old_first", "", SftMaths, "Take what the old memory holds before what the chunk offers."),
    key("sft.oracle.answers", "answers", SftMaths, "How often each trajectory is asked for the hidden entity."),
    key("sft.oracle.recall_questions", "questions", SftMaths, "Recall questions of each trajectory."),
    key("sft.oracle.least_fill", "share", SftMaths, "Least part of the memory that an oracle fills."),
    key("sft.oracle.informed", "probability", SftMaths, "That a question is asked of a memory put together for it."),
];

/// The sections and what they are about.
pub const SECTIONS: &[(&str, &str)] = &[
    ("run", "names and folders"),
    ("world", "the fictional encyclopedia, where that is the input; absent by default"),
    ("corpus", "from dump to documents"),
    ("policy", "where the policy comes from; `policy.lora` is absent by default"),
    ("reader", "how the agent reads"),
    ("bank", "how a bank is kept and read, by objectives with one; `bank.answerer` is absent by default"),
    ("searcher", "how a searcher searches, by objectives that do"),
    ("search", "where it searches"),
    ("sampling", "sampling parameters of rollouts"),
    ("tasks", "tasks with labels, instead of the corpus's documents"),
    ("sampler", "what samples: this process, or a server"),
    ("objective", "what is rewarded"),
    ("reward", "scores of a command or server, added to the objective's reward"),
    ("loss", "the GRPO loss"),
    ("update", "how a batch becomes optimizer steps"),
    ("optimizer", "AdamW and its schedule"),
    ("train", "steps and checkpoints"),
    ("eval", "evaluation on held-out documents"),
    ("sft", "supervised fine-tuning"),
];

/// The key of a name, or the section that stands for all names below it.
pub fn of(name: &str) -> Option<&'static Key> {
    let holds = |key: &&Key| name.strip_prefix(key.name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    KEYS.iter().find(holds)
}

/// What a run goes by that is started again with this configuration, under present and earlier names of keys.
pub fn classes(config: &Config, trainer: Trainer) -> KeyClasses {
    let is_sft = trainer == Trainer::Sft;
    let length = match config.optimizer.decay {
        Decay::Constant => KeyClass::Neutral,
        Decay::Linear | Decay::Cosine => KeyClass::Mathematics,
    };
    let class = |in_run: InRun| match in_run {
        Free => KeyClass::Neutral,
        Rounding => KeyClass::Rounding,
        InRun::Place(inputs) => KeyClass::Place(inputs),
        Checkpoints if config.train.overlap == Overlap::None => KeyClass::Neutral,
        Length if is_sft => KeyClass::Neutral,
        // The step after a checkpoint is sampled with fresh weights, the one after the last step as well.
        Length if config.train.overlap != Overlap::None => KeyClass::Mathematics,
        SftLength | SftMaths if !is_sft => KeyClass::Neutral,
        Length | SftLength => length,
        Checkpoints | Maths | SftMaths => KeyClass::Mathematics,
        Origin => KeyClass::Origin,
    };
    let names = |key: &Key| [key.name.to_owned(), earlier_name(key.name)].map(|name| (name, class(key.in_run)));
    KEYS.iter().flat_map(names).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::change::class_of;

    #[test]
    fn classes_follow_the_command_and_the_decay() {
        let of = |config: &str, trainer: Trainer, key: &str| {
            class_of(&classes(&toml::from_str(config).unwrap(), trainer), key)
        };
        let linear = "optimizer.decay = \"linear\"";
        assert_eq!(of("", Trainer::Train, "train.steps"), KeyClass::Neutral);
        assert_eq!(of(linear, Trainer::Train, "train.steps"), KeyClass::Mathematics);
        assert_eq!(of(linear, Trainer::Sft, "train.steps"), KeyClass::Neutral);
        assert_eq!(of("", Trainer::Train, "warm_up.texts"), KeyClass::Neutral);
        assert_eq!(of("", Trainer::Sft, "warm_up.texts"), KeyClass::Mathematics);
        assert_eq!(of("", Trainer::Sft, "sft.steps"), KeyClass::Neutral);
        assert_eq!(of("", Trainer::Train, "policy.chat_template_kwargs.enable_thinking"), KeyClass::Mathematics);
        assert_eq!(of("", Trainer::Train, "train.checkpoint_every"), KeyClass::Neutral);
        let ahead = "train.overlap = \"one-step\"";
        for key in ["train.checkpoint_every", "train.steps"] {
            assert_eq!(of(ahead, Trainer::Train, key), KeyClass::Mathematics, "{key}");
        }
        assert_eq!(of("", Trainer::Train, "policy.lora.rank"), KeyClass::Origin);
        assert_eq!(of("", Trainer::Train, "a.new.key"), KeyClass::Mathematics);
    }
}
