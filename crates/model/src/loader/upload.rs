//! How weights get into memory that the host cannot read.

use quipu_backend::{Buffer, Error};
use quipu_graph::DType;

/// A weight on its way into a buffer.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// The tensor's name.
    pub name: &'a str,
    /// Type.
    pub dtype: DType,
    /// Shape.
    pub ne: [usize; 4],
    /// Bytes in all.
    pub n_bytes: usize,
    /// Number of the buffer, as in [`crate::Model::buffers`].
    pub buffer: usize,
    /// Where in the buffer it starts.
    pub offset: usize,
}

/// Moves weights into device memory. Answers to the upload half of `llama_model_loader::load_all_data`.
///
/// One weight after the other: `begin`, its bytes in order and each once through `chunk`, `end`. Chunks are at most as long as
/// [`crate::LoadOptions::upload_chunk`]. An implementation that copies in the background takes what it needs from `bytes` before it
/// returns, and waits for the last copy in `end`. Any error ends loading and frees every buffer; `abort` is
/// called first.
pub trait UploadSink {
    /// A weight starts.
    fn begin(&mut self, upload: &Upload<'_>, buffer: &mut dyn Buffer) -> Result<(), Error> {
        let _ = (upload, buffer);
        Ok(())
    }

    /// Bytes of the weight from its byte `from` on.
    fn chunk(
        &mut self,
        upload: &Upload<'_>,
        buffer: &mut dyn Buffer,
        from: usize,
        bytes: &[u8],
    ) -> Result<(), Error>;

    /// The weight is complete.
    fn end(&mut self, upload: &Upload<'_>, buffer: &mut dyn Buffer) -> Result<(), Error> {
        let _ = (upload, buffer);
        Ok(())
    }

    /// Loading failed or was cancelled; nothing follows.
    fn abort(&mut self) {}
}

/// The sink for devices that have none of their own.
#[derive(Debug)]
pub(super) struct PlainUpload;

impl UploadSink for PlainUpload {
    fn chunk(
        &mut self,
        upload: &Upload<'_>,
        buffer: &mut dyn Buffer,
        from: usize,
        bytes: &[u8],
    ) -> Result<(), Error> {
        buffer.write(upload.offset + from, bytes)
    }
}
