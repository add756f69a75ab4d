//! What does a Hugging Face encoder say about a text?
