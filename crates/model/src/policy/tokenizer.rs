//! Text to token ids and back, and the chat template that turns a message into a prompt.

pub(super) mod end_of_turn;
mod special_tokens;

use std::ops::Range;
use std::path::Path;

use memtrain_corpora::store;
use memtrain_encoder::tokenizer_file::{TokenizerError, guarded, open};
use memtrain_pipeline::tokenizer::encode;
use serde_json::{Map, Value, json};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, OffsetType, Tokenizer};

use super::chat_template::{ChatTemplate, TemplateError, TemplateSettings};
use super::marks::Marks;
use super::{PolicyError, PromptText, recorded};

/// Files of a policy directory that belong to the tokenizer; all are kept as they are.
pub(super) const FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
];

/// A template that costs one token a turn: the user's text, then `<|im_start|>`, then the response and `<|im_end|>`.
pub const COMPACT_CHAT_TEMPLATE: &str = "{%- for message in messages -%}\
    {%- if message.role == 'assistant' -%}{{ '<|im_start|>' + message.content + '<|im_end|>' }}\
    {%- else -%}{{ message.content }}{%- endif -%}\
    {%- endfor -%}\
    {%- if add_generation_prompt -%}{{ '<|im_start|>' }}{%- endif -%}";

/// What the compact template ends a response with.
pub const END_OF_TURN: &str = "<|im_end|>";

/// Tokens that templates refer to by these names.
const TOKEN_VARIABLES: [&str; 3] = ["bos_token", "eos_token", "pad_token"];

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

/// A tokenizer with its chat template and the ids that end a response.
#[derive(Clone, Debug)]
pub struct PolicyTokenizer {
    tokenizer: Tokenizer,
    /// Texts of the added tokens, those of white space left out.
    added: Vec<String>,
    template: Option<ChatTemplate>,
    /// Variables that templates refer to, such as `bos_token`.
    variables: Map<String, Value>,
    settings: TemplateSettings,
    /// What a raw prompt begins with.
    prefix: Vec<u32>,
    eos_token_ids: Vec<u32>,
    files: Vec<(String, Vec<u8>)>,
}

impl PolicyTokenizer {
    /// All bytes, no merges, three special tokens and the compact template: the smallest tokenizer that any text goes through,
    /// for policies made from nothing in tests and examples.
    ///
    /// # Errors
    /// If the library refuses its parts.
    pub fn of_bytes() -> Result<Self, PolicyError> {
        let failed = |error: tokenizers::Error| PolicyError::Tokenizer(error.to_string());
        let mut alphabet: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        alphabet.sort_unstable();
        let vocabulary: [(String, u32); 256] =
            std::array::from_fn(|id| (alphabet.get(id).map(char::to_string).unwrap_or_default(), id as u32));
        let model = BPE::builder().vocab_and_merges(vocabulary, vec![]);
        let mut tokenizer = Tokenizer::new(model.build().map_err(failed)?);
        tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, false)));
        tokenizer.with_decoder(Some(ByteLevel::new(false, true, false)));
        let special = ["<|endoftext|>", "<|im_start|>", END_OF_TURN].map(|token| AddedToken::from(token, true));
        tokenizer.add_special_tokens(special).map_err(failed)?;
        Self::new(&tokenizer, COMPACT_CHAT_TEMPLATE, END_OF_TURN)
    }

    /// Reads a `tokenizer.json` and, if they lie beside it, its configuration and chat template.
    ///
    /// # Errors
    /// If the file is missing or cannot be read as a tokenizer, or the template is no Jinja.
    pub fn from_file(path: &Path) -> Result<Self, PolicyError> {
        let folder = path.parent().unwrap_or(Path::new("."));
        recorded::check(path)?;
        if !store::exists(path) {
            let hint = "train one with `memtrain corpus build`, or take that of the policy you start from";
            return Err(PolicyError::Missing { path: path.to_path_buf(), hint });
        }
        let mut files = vec![("tokenizer.json".to_owned(), store::read(path)?)];
        for name in FILES.into_iter().skip(1) {
            let path = folder.join(name);
            recorded::check(&path)?;
            if store::exists(&path) {
                files.push((name.to_owned(), store::read(&path)?));
            }
        }
        Self::from_files(files)
    }

    /// A tokenizer of the `tokenizers` crate with a chat template and the token that ends a response.
    ///
    /// # Errors
    /// If the token is not in the vocabulary or the template is no Jinja.
    pub fn new(tokenizer: &Tokenizer, template: &str, eos_token: &str) -> Result<Self, PolicyError> {
        let files =
            vec![("tokenizer.json".to_owned(), guarded(|| tokenizer.to_string(true)).map_err(failed)?.into_bytes())];
        let fresh = Self::from_files(files)?;
        if fresh.token_id(eos_token).is_none() {
            return Err(PolicyError::Tokenizer(format!("`{eos_token}` is not in the vocabulary")));
        }
        fresh.with_chat_template(template, eos_token)
    }

    /// The same tokenizer with another template and another token that ends a response.
    ///
    /// # Errors
    /// If the template is no Jinja.
    pub fn with_chat_template(&self, template: &str, eos_token: &str) -> Result<Self, PolicyError> {
        let mut config = self.variables.clone();
        let class = config.entry("tokenizer_class").or_insert(json!("PreTrainedTokenizerFast"));
        if class.is_null() {
            *class = json!("PreTrainedTokenizerFast");
        }
        config.insert("eos_token".to_owned(), json!(eos_token));
        config.insert("chat_template".to_owned(), json!(template));
        let mut files = self.files.clone();
        files.retain(|(name, _)| name != "tokenizer_config.json" && name != "chat_template.jinja");
        files.push(("tokenizer_config.json".to_owned(), pretty(&Value::Object(config))));
        Self::from_files(files)
    }

    fn from_files(files: Vec<(String, Vec<u8>)>) -> Result<Self, PolicyError> {
        let bytes = |name: &str| files.iter().find(|(file, _)| file == name).map(|(_, bytes)| bytes.as_slice());
        let json = |name: &str| {
            let read = |bytes| object(bytes).map_err(|detail| PolicyError::Tokenizer(format!("{name}: {detail}")));
            bytes(name).map_or(Ok(Map::new()), read)
        };
        let (config, special) = (json("tokenizer_config.json")?, json("special_tokens_map.json")?);
        let mut tokenizer = open(bytes("tokenizer.json").unwrap_or_default()).map_err(failed)?;
        special_tokens::complete(&mut tokenizer, &config)?;
        let source = match bytes("chat_template.jinja") {
            Some(bytes) => Some(("chat_template.jinja", String::from_utf8_lossy(bytes).into_owned())),
            None => config.get("chat_template").and_then(default_template).map(|text| ("tokenizer_config.json", text)),
        };
        let template = source.map(|(file, text)| ChatTemplate::parse(file, &text)).transpose();
        let template = template.map_err(failed_template)?;
        let added = tokenizer.get_added_tokens_decoder().into_values().map(|token| token.content);
        let added = added.filter(|token| !encode::is_blank(token)).collect();
        let mut variables = config.clone();
        for key in TOKEN_VARIABLES {
            if let Some(token) = special.get(key).filter(|_| config.get(key).is_none_or(Value::is_null)) {
                variables.insert(key.to_owned(), token.clone());
            }
        }
        let prefix = special_tokens::prompt_prefix(&tokenizer, &variables)?;
        let settings = TemplateSettings::default();
        let mut own =
            Self { tokenizer, added, template, settings, variables, prefix, eos_token_ids: Vec::new(), files };
        own.eos_token_ids = end_of_turn::of_tokenizer(&own, &[&config, &special]);
        if own.eos_token_ids.is_empty() {
            own.eos_token_ids.extend(own.token_id(END_OF_TURN));
        }
        Ok(own)
    }

    /// The same tokenizer, whose template is given these settings beside each conversation.
    #[must_use]
    pub fn with_template_settings(mut self, settings: &TemplateSettings) -> Self {
        self.settings = settings.clone();
        self
    }

    /// What its template is given beside each conversation.
    pub fn template_settings(&self) -> &TemplateSettings {
        &self.settings
    }

    /// The tokenizer's files by name, as they were read.
    pub fn files(&self) -> &[(String, Vec<u8>)] {
        &self.files
    }

    /// Token ids of a raw prompt: the text as [`PolicyTokenizer::encode`] has it, after what the tokenizer begins a text
    /// with (a `bos_token`) unless the text begins with that itself.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn raw_prompt_ids(&self, text: &str) -> Result<Vec<u32>, PolicyError> {
        Ok(self.begun(self.encode(text)?))
    }

    fn begun(&self, ids: Vec<u32>) -> Vec<u32> {
        if ids.starts_with(&self.prefix) { ids } else { [self.prefix.as_slice(), &ids].concat() }
    }

    /// Token ids of a text in which all added tokens stand for themselves. Nothing is added.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, PolicyError> {
        let encoding = guarded(|| self.tokenizer.encode_fast(text, false)).map_err(failed)?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Token ids of a text, in which added tokens are only text wherever the words are not the program's own.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode_text(&self, text: impl Into<PromptText>) -> Result<Vec<u32>, PolicyError> {
        let text = text.into();
        let encode = || encode::encode(&self.tokenizer, text.as_str(), text.own_spans(), OffsetType::None);
        let encoding = guarded(encode);
        Ok(encoding.map_err(failed)?.get_ids().to_vec())
    }

    /// Token ids as of [`PolicyTokenizer::encode_text`], with the byte range of each in the text. Ranges of tokens that
    /// share a character overlap.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn encode_with_offsets(
        &self,
        text: impl Into<PromptText>,
    ) -> Result<(Vec<u32>, Vec<Range<usize>>), PolicyError> {
        let text = text.into();
        let encode = || encode::encode(&self.tokenizer, text.as_str(), text.own_spans(), OffsetType::Byte);
        let encoding = guarded(encode).map_err(failed)?;
        let offsets = encoding.get_offsets().iter().map(|&(start, end)| start..end).collect();
        Ok((encoding.get_ids().to_vec(), offsets))
    }

    /// The text of token ids, special tokens included.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn decode(&self, token_ids: &[u32]) -> Result<String, PolicyError> {
        guarded(|| self.tokenizer.decode(token_ids, false)).map_err(failed)
    }

    /// The text of a response, without special tokens.
    ///
    /// # Errors
    /// If the tokenizer fails.
    pub fn decode_response(&self, token_ids: &[u32]) -> Result<String, PolicyError> {
        guarded(|| self.tokenizer.decode(token_ids, true)).map_err(failed)
    }

    /// Number of ids, added tokens included.
    pub fn vocab_size(&self) -> usize {
        let largest = self.tokenizer.get_vocab(true).into_values().max();
        largest.map_or(0, |id| id as usize + 1)
    }

    /// The id of a token, special or not.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// Ids that end a response according to the tokenizer's configuration.
    pub fn eos_token_ids(&self) -> &[u32] {
        &self.eos_token_ids
    }

    /// The prompt for one user message, as text.
    ///
    /// # Errors
    /// If the template fails.
    pub fn chat_prompt(&self, user: &str) -> Result<String, PolicyError> {
        self.render(&[Message { role: "user".to_owned(), content: user.to_owned() }], true)
    }

    /// The prompt for one user message, as token ids. An added token inside the message stays text, other than in the
    /// program's own words: no document can end its own turn.
    ///
    /// # Errors
    /// If the template or the tokenizer fails.
    pub fn chat_prompt_ids(&self, user: impl Into<PromptText>) -> Result<Vec<u32>, PolicyError> {
        self.conversation_ids(&[("user", user.into())], true)
    }

    /// A conversation as token ids, as [`PolicyTokenizer::chat_prompt_ids`] has one message. All that it says is text.
    ///
    /// # Errors
    /// If the template or the tokenizer fails.
    pub fn chat_ids(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Vec<u32>, PolicyError> {
        let one = |message: &'_ Message| PromptText::foreign(message.content.as_str());
        let messages: Vec<_> = messages.iter().map(|message| (message.role.as_str(), one(message))).collect();
        self.conversation_ids(&messages, add_generation_prompt)
    }

    /// Marks the added tokens in what the messages say, renders the template around them, and keeps as control tokens those
    /// of the rendered text that have no mark: the template's own. Most messages hold none and are rendered as they are.
    fn conversation_ids(
        &self,
        messages: &[(&str, PromptText)],
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, PolicyError> {
        let said = messages.iter().flat_map(|(role, content)| [*role, content.as_str()]);
        let marks = Marks::absent_from(said.chain(self.template.iter().map(ChatTemplate::source)))?;
        let (tokenizer, added) = (&self.tokenizer, &self.added);
        let one = |(role, content): &(&str, PromptText)| Message {
            role: marks.put_in_role(role, tokenizer, added),
            content: marks.put(content, tokenizer, added),
        };
        let marked: Vec<Message> = guarded(|| Ok(messages.iter().map(one).collect())).map_err(failed)?;
        let rendered = self.render(&marked, add_generation_prompt)?;
        let taken = guarded(|| Ok(marks.take(&rendered, tokenizer))).map_err(failed)?;
        let ids = match taken {
            None => self.encode(&rendered)?,
            Some((text, own)) => {
                let encode = || encode::encode_keeping(tokenizer, &text, &own, OffsetType::None);
                guarded(encode).map_err(failed)?.get_ids().to_vec()
            }
        };
        // A template writes itself what a prompt begins with.
        Ok(if self.template.is_some() { ids } else { self.begun(ids) })
    }

    /// Token ids of a response that somebody else wrote, as the policy would write it: its first word carries the space
    /// of running text, unless the prompt ends in white space of its own. Without the end of the turn.
    ///
    /// # Errors
    /// If the template or the tokenizer fails.
    pub fn response_ids(&self, response: impl Into<PromptText>) -> Result<Vec<u32>, PolicyError> {
        if self.chat_prompt("")?.ends_with(char::is_whitespace) {
            return self.encode_text(response);
        }
        self.encode_text(response.into().after_space())
    }

    /// A conversation as text; with `add_generation_prompt` the assistant's turn is opened. Without a template messages
    /// stand one after another, each on a line.
    ///
    /// # Errors
    /// If the template fails.
    fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String, PolicyError> {
        let lines = || messages.iter().map(|message| format!("{}\n", message.content)).collect();
        Ok(self.by_template(messages, add_generation_prompt)?.unwrap_or_else(lines))
    }

    /// A whole conversation as the template writes it; nothing without a template.
    ///
    /// # Errors
    /// If the template fails.
    pub(super) fn rendered(&self, messages: &[Message]) -> Result<Option<String>, PolicyError> {
        self.by_template(messages, false)
    }

    fn by_template(&self, messages: &[Message], add_generation_prompt: bool) -> Result<Option<String>, PolicyError> {
        let Some(template) = &self.template else { return Ok(None) };
        let token = |key: &str| self.variables.get(key).and_then(token_text).unwrap_or_default();
        // As in `transformers`, settings may replace tokens but not the conversation.
        let mut context = Map::new();
        for key in TOKEN_VARIABLES {
            context.insert(key.to_owned(), json!(token(key)));
        }
        context.extend(self.settings.variables.clone());
        context.insert("messages".to_owned(), json!(messages));
        context.insert("add_generation_prompt".to_owned(), json!(add_generation_prompt));
        template.render(&context, self.settings.date).map(Some).map_err(failed_template)
    }

    /// The longest special token that a text begins with.
    pub(super) fn special_token_at_start(&self, text: &str) -> Option<u32> {
        let added = self.tokenizer.get_added_tokens_decoder().into_iter();
        let found = added.filter(|(_, token)| token.special && !token.content.is_empty());
        let found = found.filter(|(_, token)| text.starts_with(&token.content));
        found.max_by_key(|(_, token)| token.content.len()).map(|(id, _)| id)
    }
}

fn failed(error: TokenizerError) -> PolicyError {
    PolicyError::Tokenizer(error.to_string())
}

fn failed_template(error: TemplateError) -> PolicyError {
    PolicyError::Template(error.to_string())
}

/// `chat_template` is a text, or a list of named ones.
fn default_template(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(named) => {
            let default = named.iter().find(|one| one.get("name").and_then(Value::as_str) == Some("default"))?;
            default.get("template").and_then(Value::as_str).map(str::to_owned)
        }
        _ => None,
    }
}

/// A token is a text, or an object with its `content`.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content").and_then(Value::as_str)).map(str::to_owned)
}

/// A JSON object out of bytes.
pub(super) fn object(bytes: &[u8]) -> Result<Map<String, Value>, String> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err("a JSON object is expected".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// JSON on several lines with a line break at the end, as the files of the hub are written.
pub(super) fn pretty(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_and_the_compact_template_costs_one_token() -> Result<(), PolicyError> {
        let tokenizer = PolicyTokenizer::of_bytes()?;
        let text = "Käthe  reads\n\n12 books.";
        let ids = tokenizer.encode(text)?;
        assert_eq!(tokenizer.decode(&ids)?, text);
        assert_eq!(tokenizer.vocab_size(), 259);
        let start = tokenizer.token_id("<|im_start|>").into_iter().collect::<Vec<_>>();
        assert_eq!(tokenizer.chat_prompt_ids(text)?, [ids.clone(), start].concat());
        let response = [ids, tokenizer.eos_token_ids().to_vec()].concat();
        assert_eq!(tokenizer.decode_response(&response)?, text);
        assert_eq!(tokenizer.decode(&response)?, format!("{text}<|im_end|>"));
        Ok(())
    }

    #[test]
    fn a_document_cannot_end_its_own_turn() -> Result<(), PolicyError> {
        let tokenizer = PolicyTokenizer::of_bytes()?;
        let ids = tokenizer.chat_prompt_ids("before <|im_end|> after")?;
        assert!(!ids.contains(&tokenizer.eos_token_ids()[0]));
        assert_eq!(tokenizer.decode(&ids)?, "before <|im_end|> after<|im_start|>");
        Ok(())
    }

    #[test]
    fn templates_of_the_hub_render() -> Result<(), PolicyError> {
        // The idioms of Qwen's templates: methods of Python's strings, namespaces, slices, trimmed blocks.
        let template = "{%- set ns = namespace(last=none) %}\n{%- for message in messages[::-1] %}\n    \
            {%- if ns.last is none and message.role == 'user' and not message.content.startswith('<tool>') %}\n        \
            {%- set ns.last = message.content.split('|')[-1].strip() %}\n    {%- endif %}\n{%- endfor %}\n\
            {%- for message in messages %}\n    {{- '<|im_start|>' + message.role + '\\n' + message.content + eos_token + '\\n' }}\n\
            {%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' + ns.last }}\n{%- endif %}";
        let tokenizer = PolicyTokenizer::of_bytes()?.with_chat_template(template, END_OF_TURN)?;
        let expected = "<|im_start|>user\na | b <|im_end|>\n<|im_start|>assistant\nb";
        assert_eq!(tokenizer.chat_prompt("a | b ")?, expected);
        let refused =
            PolicyTokenizer::of_bytes()?.with_chat_template("{{ raise_exception('no system role') }}", END_OF_TURN)?;
        assert!(refused.chat_prompt("x").is_err_and(|error| error.to_string().contains("no system role")));
        assert!(PolicyTokenizer::of_bytes()?.with_chat_template("{% if %}", END_OF_TURN).is_err());
        Ok(())
    }

    #[test]
    fn a_template_is_given_its_settings() -> Result<(), PolicyError> {
        let template = "{{ bos_token }}{% if enable_thinking is defined and enable_thinking is false %}no {% endif %}\
            {{ strftime_now('%d %b %Y') }}: {{ messages[0].content }}";
        let tokenizer = PolicyTokenizer::of_bytes()?.with_chat_template(template, END_OF_TURN)?;
        assert_eq!(tokenizer.chat_prompt("x")?, "26 Jul 2024: x");
        let variables = json!({"enable_thinking": false, "bos_token": "<s>", "messages": []});
        let variables = variables.as_object().cloned().unwrap_or_default();
        let date = "2026-02-01".to_owned().try_into().unwrap_or_default();
        let tokenizer = tokenizer.with_template_settings(&TemplateSettings { variables, date });
        assert_eq!(tokenizer.chat_prompt("x")?, "<s>no 01 Feb 2026: x");
        Ok(())
    }

    #[test]
    fn without_a_template_messages_are_lines() -> Result<(), PolicyError> {
        let mut tokenizer = PolicyTokenizer::of_bytes()?;
        tokenizer.template = None;
        assert_eq!(tokenizer.chat_prompt("hello")?, "hello\n");
        Ok(())
    }
}
