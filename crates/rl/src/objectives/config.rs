//! `[objective]`: which system, and its constants.
//!
//! One flat section: `kind` chooses the system, the other keys are its constants. A key of another system is refused.

use serde::{Deserialize, Serialize};

use super::Objective;
use super::finemem::FineMemConfig;
use super::infomem::{GainScorer, InfoMemConfig};
use super::mem1::{AnswerCount, Mem1Config};
use super::memagent::MemAgentConfig;
use super::memalpha::{Grouping, Judge, MemAlphaConfig};
use super::memtrain::{MemTrainConfig, RecallDraw, Variant};
use crate::agents::answer::Equality;
use crate::grpo::advantage::RewardScale;

/// The systems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// MemTrain, arXiv 2606.03197.
    #[default]
    MemTrain,
    /// MemAgent, arXiv 2507.02259.
    MemAgent,
    /// InfoMem, arXiv 2606.03329.
    InfoMem,
    /// Fine-Mem, arXiv 2601.08435.
    FineMem,
    /// Mem-α, arXiv 2509.25911.
    MemAlpha,
    /// MEM1, arXiv 2506.15841.
    Mem1,
}

/// The constants of a system.
///
/// ```
/// use memtrain_rl::objectives::ObjectiveConfig;
/// let read = |text: &str| toml::from_str::<ObjectiveConfig>(text);
/// assert!(matches!(read("recall_weight = 0.25").unwrap(), ObjectiveConfig::MemTrain(config) if config.recall_weight == 0.25));
/// assert_eq!(read("kind = \"memagent\"").unwrap().objective().group_size(), 16);
/// let error = read("kind = \"memagent\"\nrecall_weight = 0.25").unwrap_err().to_string();
/// assert!(error.contains("`recall_weight` is no key of `kind = \"memagent\"`"), "{error}");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub enum ObjectiveConfig {
    /// End-to-end reconstruction and intermediate recall.
    MemTrain(MemTrainConfig),
    /// A given question.
    MemAgent(MemAgentConfig),
    /// A given question, and what the memory tells about the answer.
    InfoMem(InfoMemConfig),
    /// A flat bank, rewards a chunk.
    FineMem(FineMemConfig),
    /// A bank of three sections.
    MemAlpha(MemAlphaConfig),
    /// Search.
    Mem1(Mem1Config),
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self::MemTrain(MemTrainConfig::default())
    }
}

/// Every key that any system has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    variant: Option<Variant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_size: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_questions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_shared: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_samples: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    overlong_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unsupported_penalty: Option<f64>,
    // Keys that came later are left out of a run's configuration at their defaults, so that runs without them go on.
    #[serde(skip_serializing_if = "is_none_or_default")]
    recall_draw: Option<RecallDraw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recall_includes_current: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gain_weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scorer: Option<GainScorer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    questions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_questions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence_weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    chunk_weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression_weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_weight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    judge: Option<Judge>,
    #[serde(skip_serializing_if = "Option::is_none")]
    grouping: Option<Grouping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    objectives: Option<usize>,
    #[serde(skip_serializing_if = "is_none_or_default")]
    answer_count: Option<AnswerCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    equality: Option<Equality>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reward_scale: Option<RewardScale>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filter_groups: Option<bool>,
}

fn is_none_or_default<T: Default + PartialEq>(key: &Option<T>) -> bool {
    key.as_ref().is_none_or(|value| *value == T::default())
}

/// Builds the constants of a system from the keys that it has, and the keys from the constants.
macro_rules! keys_of {
    ($($variant:ident, $config:ident { $($field:ident),* };)*) => {
        impl TryFrom<Keys> for ObjectiveConfig {
            type Error = String;

            fn try_from(mut keys: Keys) -> Result<Self, String> {
                let config = match keys.kind {
                    $(Kind::$variant => {
                        let defaults = $config::default();
                        Self::$variant($config { $($field: keys.$field.take().unwrap_or(defaults.$field)),* })
                    })*
                };
                keys.refuse_what_is_left()?;
                config.refuse_contradictions()?;
                Ok(config)
            }
        }

        impl From<ObjectiveConfig> for Keys {
            fn from(config: ObjectiveConfig) -> Self {
                match config {
                    $(ObjectiveConfig::$variant(config) => Self {
                        kind: Kind::$variant,
                        $($field: Some(config.$field),)*
                        ..Self::default()
                    }),*
                }
            }
        }

        impl ObjectiveConfig {
            /// Which system it is.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Self::$variant(_) => Kind::$variant),*
                }
            }

            /// What centred rewards are divided by, and whether groups of equal ones are left out.
            pub fn of_groups(&self) -> (RewardScale, bool) {
                match self {
                    $(Self::$variant(config) => (config.reward_scale, config.filter_groups)),*
                }
            }

            /// What rolls out and rewards.
            pub fn objective(&self) -> &dyn Objective {
                match self {
                    $(Self::$variant(config) => config),*
                }
            }
        }
    };
}

keys_of! {
    MemTrain, MemTrainConfig {
        variant, recall_weight, group_size, recall_questions, recall_shared, recall_samples, overlong_penalty,
        repetition_penalty, unsupported_penalty, recall_draw, recall_includes_current, equality, reward_scale, filter_groups
    };
    MemAgent, MemAgentConfig { group_size, equality, reward_scale, filter_groups };
    InfoMem, InfoMemConfig { group_size, gain_weight, scorer, equality, reward_scale, filter_groups };
    FineMem, FineMemConfig {
        group_size, questions, chunk_questions, evidence_weight, chunk_weight, compression_weight, equality, reward_scale,
        filter_groups
    };
    MemAlpha, MemAlphaConfig {
        group_size, questions, compression_weight, content_weight, judge, grouping, equality, reward_scale, filter_groups
    };
    Mem1, Mem1Config { objectives, group_size, answer_count, equality, reward_scale, filter_groups };
}

impl Keys {
    /// Refuses keys that no constant was made from.
    fn refuse_what_is_left(&self) -> Result<(), String> {
        let left = toml::Table::try_from(self).map_err(|error| error.to_string())?;
        let kind = left.get("kind").and_then(toml::Value::as_str).unwrap_or_default();
        match left.keys().find(|key| *key != "kind") {
            Some(key) => Err(format!("`{key}` is no key of `kind = \"{kind}\"`: it belongs to another objective")),
            None => Ok(()),
        }
    }
}

impl ObjectiveConfig {
    fn refuse_contradictions(&self) -> Result<(), String> {
        match self {
            Self::MemTrain(MemTrainConfig {
                recall_draw: RecallDraw::Released, recall_includes_current: true, ..
            }) => Err("`recall_includes_current` belongs to `recall_draw = \"paper\"`: the released draw reaches the \
                       current chunk and the next one by itself"
                .to_owned()),
            _ => Ok(()),
        }
    }

    /// MemTrain's constants: its own where it is the objective, the defaults elsewhere.
    pub fn memtrain(&self) -> MemTrainConfig {
        match self {
            Self::MemTrain(config) => config.clone(),
            _ => MemTrainConfig::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_back_from_what_is_written_and_keeps_its_own_keys() {
        for kind in ["memtrain", "memagent", "infomem", "finemem", "memalpha", "mem1"] {
            let config: ObjectiveConfig = toml::from_str(&format!("kind = \"{kind}\"\ngroup_size = 3")).unwrap();
            let written = toml::to_string(&config).unwrap();
            assert!(written.contains(kind) && written.contains("group_size = 3"), "{written}");
            assert_eq!(toml::from_str::<ObjectiveConfig>(&written).unwrap(), config);
            assert_eq!(written.contains("recall_weight"), kind == "memtrain");
            assert_eq!(config.objective().group_size(), 3);
        }
        assert!(toml::from_str::<ObjectiveConfig>("kind = \"other\"").is_err());
        assert!(toml::from_str::<ObjectiveConfig>("group_sizes = 3").is_err());
    }
}
