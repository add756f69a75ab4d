//! Backward pass (vector-Jacobian product) of log-probabilities to the trained tensors, whole or layer by layer.
//!
//! The whole tape keeps every activation until the last gradient is out. With activation checkpointing the forward pass
//! runs without a tape and keeps the inputs of the layers alone; then, from the last layer to the first, one layer is
//! computed again on a tape of its own and its gradients are handed out. That costs one more forward pass. Both ways
//! add the same numbers in the same order, so in f32 they agree bit for bit. In bf16 on an NVIDIA card kernels do the same
//! without a tape (`super::cuda`).
//!
//! Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", section 3, with one segment a layer.

use std::collections::HashMap;

use candle_core::{DType, Result, Tensor, Var};
use memtrain_kernels::nn::{PackedBatch, tape};

use super::decoder::{Decoder, Layer, ScoredTokens};
use crate::optim::GradientBuffer;

/// A batch and the tokens of it that are scored.
#[derive(Clone, Copy, Debug)]
pub struct ScoredRows<'a> {
    /// The tokens.
    pub batch: &'a PackedBatch,
    /// Rows whose hidden states predict the targets, `R` in all.
    pub rows: &'a [u32],
    /// The tokens predicted, `R` in all.
    pub targets: &'a [u32],
    /// Temperature of the distributions.
    pub temperature: f64,
}

/// What a backward pass keeps of the forward, and what it computes again. The gradient is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpointing {
    /// Everything is kept.
    Off,
    /// The inputs of the layers are kept.
    Full,
    /// As `Full`, and on a card in bf16 the activations of as many layers as there is memory for; norms and the gated activation
    /// are computed again. Source: Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models",
    /// section 5.
    Selective,
}

/// Where gradients go, by the name of the parameter.
pub(super) struct GradientSink<'a> {
    numbers: HashMap<&'a str, usize>,
    reached: Vec<bool>,
    gradients: &'a mut GradientBuffer,
}

impl GradientSink<'_> {
    fn add(&mut self, name: &str, gradient: &Tensor) -> Result<()> {
        let number = self.reach(name)?;
        self.gradients.add_one(number, gradient)
    }

    /// The sum of a parameter on a card, to be added to in place.
    #[cfg(feature = "cuda")]
    pub fn in_place(&mut self, name: &str) -> Result<(Tensor, memtrain_kernels::cuda::Output)> {
        let number = self.reach(name)?;
        self.gradients.in_place(number)
    }

    fn reach(&mut self, name: &str) -> Result<usize> {
        let Some(&number) = self.numbers.get(name) else {
            candle_core::bail!("`{name}` is a variable of the decoder, but not among the trained parameters");
        };
        self.reached[number] = true;
        Ok(number)
    }
}

impl Decoder {
    /// Adds the gradients of `Σ_t c_t log π_t` over the scored tokens to `gradients`, where `cotangent` gives `c` `[R]` once the
    /// log-probabilities are known. `parameters` are those of the decoder ([`Decoder::parameters`]), in the order of `gradients`;
    /// gradients of 16-bit parameters are added unrounded.
    ///
    /// With [`Checkpointing`] only the inputs of the layers and one layer's tape exist at a time, and gradients are added layer
    /// by layer.
    ///
    /// ```
    /// use candle_core::{DType, Device};
    /// use memtrain_kernels::nn::PackedBatch;
    /// use memtrain_model::optim::GradientBuffer;
    /// use memtrain_model::policy::{Checkpointing, Decoder, ScoredRows, preset};
    /// let decoder = Decoder::init(preset::tiny(64), 0, &Device::Cpu, DType::F32)?;
    /// let mut batch = PackedBatch::default();
    /// batch.push(&[1, 2, 3], None);
    /// let scored = ScoredRows { batch: &batch, rows: &[0, 1], targets: &[2, 3], temperature: 1.0 };
    /// let parameters = decoder.parameters()?;
    /// let mut gradients = GradientBuffer::new(&parameters)?;
    /// let mut ones = |scores: &memtrain_model::policy::ScoredTokens| scores.log_probs.ones_like();
    /// decoder.backward(&scored, &parameters, Checkpointing::Full, &mut ones, &mut gradients)?;
    /// assert_eq!(gradients.take()?.len(), parameters.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If rows, targets or the batch are inconsistent, `parameters` are not those of the decoder, or a parameter got no
    /// gradient.
    pub fn backward(
        &self,
        scored: &ScoredRows<'_>,
        parameters: &[(String, Var)],
        checkpointing: Checkpointing,
        cotangent: &mut dyn FnMut(&ScoredTokens) -> Result<Tensor>,
        gradients: &mut GradientBuffer,
    ) -> Result<()> {
        let numbers = parameters.iter().enumerate().map(|(number, (name, _))| (name.as_str(), number)).collect();
        let mut sink = GradientSink { numbers, reached: vec![false; parameters.len()], gradients };
        self.add_gradients(scored, checkpointing, cotangent, &mut sink)?;
        match parameters.iter().zip(&sink.reached).find(|(_, reached)| !**reached) {
            Some(((name, _), _)) => {
                candle_core::bail!("no gradient reached `{name}`: it is no variable of the decoder")
            }
            None => Ok(()),
        }
    }

    fn add_gradients(
        &self,
        scored: &ScoredRows<'_>,
        checkpointing: Checkpointing,
        cotangent: &mut dyn FnMut(&ScoredTokens) -> Result<Tensor>,
        sink: &mut GradientSink<'_>,
    ) -> Result<()> {
        #[cfg(feature = "cuda")]
        if super::cuda::takes(self, scored.batch) && !scored.rows.is_empty() {
            return super::cuda::backward(self, scored, checkpointing, cotangent, sink);
        }
        match checkpointing {
            Checkpointing::Off => self.backward_whole(scored, cotangent, sink),
            Checkpointing::Full | Checkpointing::Selective => self.backward_by_layers(scored, cotangent, sink),
        }
    }

    fn backward_whole(
        &self,
        scored: &ScoredRows<'_>,
        cotangent: &mut dyn FnMut(&ScoredTokens) -> Result<Tensor>,
        sink: &mut GradientSink<'_>,
    ) -> Result<()> {
        let working = self.with_weights(|tensor| widened(tensor, self.compute_dtype()))?;
        let hidden = working.hidden_at(scored.batch, scored.rows)?;
        let loss = working.weighted_log_probs(&hidden, scored, cotangent)?;
        let variables = working.parameters()?;
        let gradients = tape::gradients(&loss, &variables)?;
        variables.iter().zip(gradients).try_for_each(|((name, _), gradient)| sink.add(name, &gradient))
    }

    fn backward_by_layers(
        &self,
        scored: &ScoredRows<'_>,
        cotangent: &mut dyn FnMut(&ScoredTokens) -> Result<Tensor>,
        sink: &mut GradientSink<'_>,
    ) -> Result<()> {
        let (batch, frozen) = (scored.batch, self.frozen()?);
        let rotary = self.rotary(&batch.position_ids)?;
        let mut inputs = Vec::with_capacity(self.config.num_hidden_layers);
        let mut x = frozen.embed(&batch.token_ids)?;
        let last = frozen.layers().len().saturating_sub(1);
        let forward = |number: usize, layer: &Layer<'_>, x: &Tensor| match number == last {
            true => layer.forward_at(x, &rotary, &batch.segments, scored.rows),
            false => layer.forward(x, &rotary, &batch.segments),
        };
        for (number, layer) in frozen.layers().enumerate() {
            let next = forward(number, &layer, &x)?;
            inputs.push(std::mem::replace(&mut x, next));
        }
        let embedding_is_trained = self.weights.embed_tokens.is_variable();
        let lowest = if embedding_is_trained { 0 } else { self.lowest_trained_layer() };
        let (mut gradient, embedding_gradient) = self.backward_top(x, scored, cotangent, sink)?;
        for (number, weights) in self.weights.layers.iter().enumerate().rev() {
            let Some(input) = inputs.pop() else { candle_core::bail!("fewer inputs than layers") };
            if number < lowest {
                // Nothing below is trained.
                continue;
            }
            let weights = weights.map(&|tensor: &Tensor| widened(tensor, self.compute_dtype()))?;
            let layer = Layer { config: &self.config, weights: &weights };
            let mut variables = Vec::new();
            for (name, tensor) in weights.named_all() {
                if tensor.is_variable() {
                    variables.push((format!("model.layers.{number}.{name}"), Var::from_tensor(tensor)?));
                }
            }
            let wants_input = embedding_is_trained || number > lowest;
            let (input, input_name) = match wants_input {
                true => {
                    let input = Var::from_tensor(&input)?;
                    variables.push((String::new(), input.clone()));
                    (input.into_inner(), true)
                }
                false => (input, false),
            };
            let output = forward(number, &layer, &input)?;
            let mut gradients = tape::gradients(&(output * gradient)?.sum_all()?, &variables)?;
            gradient = match input_name {
                true => gradients.pop().ok_or_else(|| candle_core::Error::msg("no gradient of a layer's input"))?,
                false => input.zeros_like()?,
            };
            for ((name, _), gradient) in variables.iter().zip(gradients) {
                sink.add(name, &gradient)?;
            }
        }
        self.backward_embedding(&gradient, embedding_gradient, batch, sink)
    }

    /// From the log-probabilities down to the output of the last layer at the scored rows, `x`: its gradient, and that of the embedding if it
    /// is the head too.
    fn backward_top(
        &self,
        x: Tensor,
        scored: &ScoredRows<'_>,
        cotangent: &mut dyn FnMut(&ScoredTokens) -> Result<Tensor>,
        sink: &mut GradientSink<'_>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        const EMBEDDING: &str = "model.embed_tokens.weight";
        let x = Var::from_tensor(&x)?;
        let mut top = self.frozen()?;
        top.weights.layers.clear();
        top.weights.norm = widened(&self.weights.norm, self.compute_dtype())?;
        match &self.weights.lm_head {
            Some(head) => top.weights.lm_head = Some(widened(head, self.compute_dtype())?),
            None => top.weights.embed_tokens = widened(&self.weights.embed_tokens, self.compute_dtype())?,
        }
        let loss = top.weighted_log_probs(&top.final_norm(&x)?, scored, cotangent)?;
        let mut variables = top.parameters()?;
        variables.push((String::new(), x));
        let mut gradients = tape::gradients(&loss, &variables)?;
        let gradient = gradients.pop().ok_or_else(|| candle_core::Error::msg("no gradient of the last layer"))?;
        let mut of_embedding = None;
        for ((name, _), gradient) in variables.iter().zip(gradients) {
            // A head that is the embedding too gets a second part from the other end.
            if name == EMBEDDING {
                of_embedding = Some(gradient);
            } else {
                sink.add(name, &gradient)?;
            }
        }
        Ok((gradient, of_embedding))
    }

    fn backward_embedding(
        &self,
        gradient: &Tensor,
        of_head: Option<Tensor>,
        batch: &PackedBatch,
        sink: &mut GradientSink<'_>,
    ) -> Result<()> {
        if !self.weights.embed_tokens.is_variable() {
            return Ok(());
        }
        let mut bottom = self.frozen()?;
        bottom.weights.layers.clear();
        bottom.weights.lm_head = None;
        bottom.weights.norm = bottom.weights.norm.detach();
        bottom.weights.embed_tokens = widened(&self.weights.embed_tokens, self.compute_dtype())?;
        let variables = bottom.parameters()?;
        let loss = (bottom.embed(&batch.token_ids)? * gradient)?.sum_all()?;
        for ((name, _), gradient) in variables.iter().zip(tape::gradients(&loss, &variables)?) {
            let sum = match &of_head {
                Some(head) => (head + gradient)?,
                None => gradient,
            };
            sink.add(name, &sum)?;
        }
        Ok(())
    }

    /// The first layer with a variable in it, or the number of layers.
    pub(super) fn lowest_trained_layer(&self) -> usize {
        let trained = |weights: &super::LayerWeights| weights.named_all().iter().any(|(_, t)| t.is_variable());
        self.weights.layers.iter().position(trained).unwrap_or(self.weights.layers.len())
    }

    /// `Σ_t c_t log π_t`, of the hidden states at the scored rows.
    fn weighted_log_probs(
        &self,
        hidden: &Tensor,
        scored: &ScoredRows<'_>,
        cotangent: &mut dyn FnMut(&ScoredTokens) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let tokens = self.log_probs_of(hidden, scored.targets, scored.temperature)?;
        let cotangent = cotangent(&tokens)?.to_dtype(tokens.log_probs.dtype())?;
        (&tokens.log_probs * cotangent)?.sum_all()
    }
}

/// A variable of a 16-bit type as a variable of the type that is computed in: its gradient comes out unrounded. Anything
/// else as it is.
fn widened(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    if tensor.is_variable() && matches!(tensor.dtype(), DType::BF16 | DType::F16) && tensor.dtype() != dtype {
        return Ok(Var::from_tensor(&tensor.detach().to_dtype(dtype)?)?.into_inner());
    }
    Ok(tensor.clone())
}
