//! An NVIDIA card as candle's device: one stream, no events, a memory pool that keeps what it has.
//!
//! candle creates, records and waits for two events an allocation, which order the uses of a tensor by several streams.
//! Here all work goes through one stream, whatever thread asks for it, and the stream orders it. The pool behind
//! stream-ordered allocations would give all memory that is unused back to the driver wherever the host waits for the
//! device, and ask for it again a moment later; its release threshold is raised so that it keeps it. What the pool has
//! reserved and does not use is then free to this process, though the driver does not count it as free.

use candle_core::cuda_backend::cudarc::driver::sys::CUmemPool_attribute_enum as Attribute;
use candle_core::cuda_backend::cudarc::driver::{DriverError, result, sys};
use candle_core::{CudaDevice, Device, Result};

/// Opens the card of a number.
pub(super) fn open(number: usize) -> Result<Device> {
    // A stream of its own: the other constructor takes the driver's stream of the calling thread, which is another one in
    // each thread.
    let device = CudaDevice::new_with_stream(number)?;
    disable_events(&device);
    // A card without pools allocates by cuMemAlloc, and there is nothing to keep.
    if device.cuda_stream().context().has_async_alloc() {
        Pool::of(&device)
            .and_then(|pool| pool.set(Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX))
            .map_err(|error| candle_core::Error::Msg(format!("the card's memory pool cannot be set up: {error}")))?;
    }
    Ok(Device::Cuda(device))
}

#[expect(unsafe_code, reason = "the caller has to order the uses of tensors by several streams")]
fn disable_events(device: &CudaDevice) {
    // SAFETY: tensors of this device are used in its one stream alone: nothing in this workspace makes another one.
    unsafe { device.disable_event_tracking() }
}

/// Bytes that can be allocated: those that the driver has and those that the pool keeps without using them.
pub(super) fn free_bytes(device: &CudaDevice) -> Option<usize> {
    let context = device.cuda_stream().context().clone();
    let (free, _) = context.mem_get_info().ok()?;
    if !context.has_async_alloc() {
        return Some(free);
    }
    let pool = Pool::of(device).ok()?;
    let reserved = pool.get(Attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT).ok()?;
    let used = pool.get(Attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT).ok()?;
    Some(free + usize::try_from(reserved.saturating_sub(used)).ok()?)
}

/// What the driver calls the card, `NVIDIA H100 80GB HBM3` for example.
pub(super) fn name(device: &CudaDevice) -> Option<String> {
    result::device::get_name(device.cuda_stream().context().cu_device()).ok()
}

/// The pool that stream-ordered allocations on a card are made from.
struct Pool(sys::CUmemoryPool);

#[expect(unsafe_code, reason = "cudarc has no safe wrapper of memory pools")]
impl Pool {
    fn of(device: &CudaDevice) -> std::result::Result<Self, DriverError> {
        // SAFETY: the number is that of an open context.
        unsafe { result::device::get_mem_pool(device.cuda_stream().context().cu_device()) }.map(Self)
    }

    /// Sets an attribute whose type is an unsigned integer of 64 bits.
    fn set(&self, attribute: Attribute, mut value: u64) -> std::result::Result<(), DriverError> {
        // SAFETY: the pool belongs to an open context, and the value has the type of the attribute.
        unsafe { result::mem_pool::set_attribute(self.0, attribute, (&raw mut value).cast()) }
    }

    /// Reads an attribute whose type is an unsigned integer of 64 bits.
    fn get(&self, attribute: Attribute) -> std::result::Result<u64, DriverError> {
        let mut value = 0_u64;
        // SAFETY: as above.
        unsafe { result::mem_pool::get_attribute(self.0, attribute, (&raw mut value).cast()) }?;
        Ok(value)
    }
}
