//! The reader of the tests that train on the small world.

/// Chunks of whole sentences and a memory of a sentence; other tables come behind.
pub const READER: &str = r#"
    [reader]
    prompts = "compact"
    chunk_tokens = 48
    max_chunks = 8
    memory_tokens = 16
    answer_tokens = 8
    context_tokens = 256
    cut_at = "sentence"
"#;
