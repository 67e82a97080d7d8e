//! A tensor's description in the `toc` blob.
//!
//! Answers to the stored part of gemma.cpp's `MatPtr`. Tensors are matrices in rows, without padding in the file.

use crate::error::{Error, Result};
use crate::fields::FieldError;
use crate::fields::{Fields, Visitor};
use crate::types::Type;

/// A tensor in the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Mat {
    /// Its blob's name.
    pub name: String,
    /// Its type.
    pub dtype: Type,
    /// Rows.
    pub rows: u32,
    /// Values in a row.
    pub cols: u32,
    /// What the values are to be multiplied with: SFP has a limited range.
    pub scale: f32,
    element_bytes: u32,
    n_elements: u32,
    stride: u32,
}

impl Default for Mat {
    fn default() -> Mat {
        Mat {
            name: String::new(),
            dtype: Type::Unknown,
            rows: 0,
            cols: 0,
            scale: 1.0,
            element_bytes: 0,
            n_elements: 0,
            stride: 0,
        }
    }
}

impl Fields for Mat {
    fn visit(&mut self, v: &mut Visitor<'_>) -> std::result::Result<(), FieldError> {
        v.string(&mut self.name)?;
        v.one_of(&mut self.dtype)?;
        v.u32(&mut self.element_bytes)?;
        v.u32(&mut self.n_elements)?;
        v.u32(&mut self.rows)?;
        v.u32(&mut self.cols)?;
        v.f32(&mut self.scale)?;
        v.u32(&mut self.stride)
    }
}

impl Mat {
    /// A tensor to be written.
    ///
    /// # Errors
    /// [`Error::Tensor`] if its name or size cannot be stored.
    pub fn new(name: &str, dtype: Type, rows: usize, cols: usize, scale: f32) -> Result<Mat> {
        let refused = |what: String| Error::Tensor { name: name.to_owned(), what };
        let large = || refused(format!("{rows} x {cols}, more than can be stored"));
        if name.is_empty() || name.len() > 16 {
            return Err(refused("called so, expected 1 to 16 bytes".to_owned()));
        }
        if dtype == Type::Unknown || rows == 0 || cols == 0 {
            return Err(refused(format!("{rows} x {cols} of type {dtype}, expected values")));
        }
        let n_values = (rows as u64).checked_mul(cols as u64).ok_or_else(large)?;
        let n_elements = dtype.n_bytes(n_values).ok_or_else(large)? / u64::from(dtype.element_bytes());
        Ok(Mat {
            name: name.to_owned(),
            dtype,
            rows: u32::try_from(rows).map_err(|_| large())?,
            cols: u32::try_from(cols).map_err(|_| large())?,
            scale,
            element_bytes: dtype.element_bytes(),
            n_elements: u32::try_from(n_elements).map_err(|_| large())?,
            stride: cols as u32,
        })
    }

    /// Number of values.
    pub fn n_values(&self) -> u64 {
        u64::from(self.rows) * u64::from(self.cols)
    }

    /// Bytes in the file, or `None` if there is no such number.
    pub fn n_bytes(&self) -> Option<u64> {
        self.dtype.n_bytes(self.n_values())
    }

    /// Whether the description agrees with itself and with a blob of `bytes` bytes.
    ///
    /// # Errors
    /// [`Error::Tensor`].
    pub fn check(&self, bytes: u64) -> Result<()> {
        let refused = |what: String| Err(Error::Tensor { name: self.name.clone(), what });
        if self.dtype == Type::Unknown || self.n_values() == 0 {
            return refused(format!("{} x {} of type {}, expected values", self.rows, self.cols, self.dtype));
        }
        if self.element_bytes != self.dtype.element_bytes() {
            let expected = self.dtype.element_bytes();
            return refused(format!(
                "of type {} with {} bytes each, expected {expected}",
                self.dtype, self.element_bytes
            ));
        }
        if self.stride != self.cols && self.rows > 1 {
            return refused(format!(
                "stored with {} values for a row of {}, expected none between rows",
                self.stride, self.cols
            ));
        }
        let expected = self.n_bytes();
        let said = u64::from(self.n_elements) * u64::from(self.element_bytes);
        if expected != Some(bytes) || said != bytes {
            let (rows, cols, dtype) = (self.rows, self.cols, self.dtype);
            let expected = expected.map_or_else(|| "fewer".to_owned(), |n| n.to_string());
            return refused(format!(
                "{rows} x {cols} of type {dtype} in {expected} bytes, but it says {said} and its blob has {bytes}"
            ));
        }
        Ok(())
    }
}
