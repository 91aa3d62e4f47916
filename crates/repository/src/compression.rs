//! zstd with contexts that are made once for each thread.

use zstd::bulk::{Compressor, Decompressor};

use crate::{RepositoryError, Result};

/// No blob and no file of JSON is larger than this; a frame that claims more is not unpacked.
pub(crate) const LARGEST: usize = 2 << 30;

/// Compresses into a buffer that is kept.
pub(crate) struct Packer(Compressor<'static>);

impl Packer {
    pub(crate) fn new(level: i32) -> Result<Self> {
        Compressor::new(level).map(Self).map_err(|e| RepositoryError::internal("set up compression", e))
    }

    /// The compressed length, or `None` if it does not fit into `room`.
    pub(crate) fn pack_into(&mut self, plain: &[u8], room: &mut [u8]) -> Option<usize> {
        self.0.compress_to_buffer(plain, room).ok()
    }
}

/// Decompresses into a buffer that is kept.
pub(crate) struct Unpacker(Decompressor<'static>);

impl Unpacker {
    pub(crate) fn new() -> Result<Self> {
        Decompressor::new().map(Self).map_err(|e| RepositoryError::internal("set up decompression", e))
    }

    /// Replaces `plain` by what is in `packed`, which must be exactly `length` bytes.
    pub(crate) fn unpack_into(
        &mut self,
        packed: &[u8],
        length: usize,
        plain: &mut Vec<u8>,
    ) -> Result<(), String> {
        if length > LARGEST {
            return Err(format!("it claims to hold {length} bytes"));
        }
        plain.resize(length, 0);
        match self.0.decompress_to_buffer(packed, plain.as_mut_slice()) {
            Ok(found) if found == length => Ok(()),
            Ok(found) => Err(format!("it holds {found} bytes instead of {length}")),
            Err(error) => Err(format!("it does not decompress: {error}")),
        }
    }
}
