//! Copies to the host that the host does not wait for until it reads them.

use std::ptr::NonNull;
use std::sync::Arc;

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaContext, CudaEvent, result};
use candle_core::{DType, Result, Tensor};

use super::{address, card};

/// Pinned memory of the host, and the moment from which on it holds what was copied there.
#[derive(Debug)]
pub(super) struct HostCopy {
    memory: NonNull<u32>,
    room: usize,
    len: usize,
    done: CudaEvent,
}

// SAFETY: nobody else has the memory, and no thread is bound to it.
unsafe impl Send for HostCopy {}

impl HostCopy {
    /// Room for so many numbers.
    pub(super) fn new(context: &Arc<CudaContext>, room: usize) -> Result<Self> {
        let room = room.max(1);
        let done = context.new_event(None).w()?;
        // SAFETY: plain memory, given back in `drop`; zeros are numbers.
        let memory = unsafe {
            let memory = result::malloc_host(room * size_of::<u32>(), 0).w()?.cast::<u32>();
            memory.write_bytes(0, room);
            NonNull::new(memory)
        };
        let Some(memory) = memory else { candle_core::bail!("the driver gave no memory of the host") };
        Ok(Self { memory, room, len: 0, done })
    }

    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Begins to copy the first `len` numbers of a contiguous tensor of u32, after all that was launched before.
    pub(super) fn start(&mut self, from: &Tensor, len: usize) -> Result<()> {
        if from.dtype() != DType::U32 || len > self.room || len > from.elem_count() {
            candle_core::bail!("{len} numbers are not in {from:?}, or more than {}", self.room);
        }
        let stream = card(from)?.cuda_stream();
        stream.context().bind_to_thread().w()?;
        self.len = len;
        // SAFETY: the memory is this copy's alone and is read and given back only once `done` has come. Memory on the
        // card is freed in the order of the stream, so the source is there.
        unsafe {
            let to = std::slice::from_raw_parts_mut(self.memory.as_ptr(), len);
            result::memcpy_dtoh_async(to, address(from)?, stream.cu_stream()).w()?;
        }
        self.done.record(&stream).w()
    }

    /// Waits for what was begun last.
    pub(super) fn wait(&self) -> Result<&[u32]> {
        self.done.synchronize().w()?;
        // SAFETY: the copy of these numbers has ended, and another begins only with `&mut self`.
        Ok(unsafe { std::slice::from_raw_parts(self.memory.as_ptr(), self.len) })
    }
}

impl Drop for HostCopy {
    fn drop(&mut self) {
        // A card that does not answer any more writes nothing either.
        let context = self.done.context();
        context.record_err(self.done.synchronize());
        // SAFETY: allocated by `malloc_host`, and no copy is under way.
        context.record_err(unsafe { result::free_host(self.memory.as_ptr().cast()) });
    }
}
