//! Builder methods: one per op, each checking the shapes ggml asserts on.

use quipu_quant::DType;

use crate::error::Error;
use crate::graph::Graph;
use crate::op::{GluOp, Op, RopeParams, UnaryOp};
use crate::tensor::{MAX_DIMS, Tensor, TensorId};

impl Graph {
    /// `a + b`; `b` is repeated to `a`'s shape (`ggml_add`).
    pub fn add(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, Error> {
        self.elementwise(Op::Add, a, b)
    }

    /// `a * b`; `b` is repeated to `a`'s shape (`ggml_mul`).
    pub fn mul(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, Error> {
        self.elementwise(Op::Mul, a, b)
    }

    /// `a * scale + bias` (`ggml_scale_bias`).
    pub fn scale(&mut self, a: TensorId, scale: f32, bias: f32) -> Result<TensorId, Error> {
        self.same_shape_f32(Op::Scale { scale, bias }, a)
    }

    /// Rows of `a` (`[k, n, x, y]`) times rows of `b` (`[k, m, ..]`, f32), giving f32 `[n, m, ..]`; `a` is
    /// repeated over `b`'s outer dimensions (`ggml_mul_mat`).
    pub fn mul_mat(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, Error> {
        let (ta, tb) = (&self[a], &self[b]);
        let broadcasts =
            ta.ne[2] != 0 && ta.ne[3] != 0 && tb.ne[2] % ta.ne[2] == 0 && tb.ne[3] % ta.ne[3] == 0;
        if ta.ne[0] != tb.ne[0] || !broadcasts {
            return Err(self.shapes(Op::MulMat, a, b, "equal ne[0] and a's outer dimensions dividing b's"));
        }
        if !ta.has_contiguous_rows() {
            return Err(self.operand(Op::MulMat, a, "rows without gaps"));
        }
        let ne = [ta.ne[1], tb.ne[1], tb.ne[2], tb.ne[3]];
        self.contiguous("", DType::F32, ne, Op::MulMat, &[a, b])
    }

    /// Mean 0 and variance 1 per row (`ggml_norm`).
    pub fn norm(&mut self, a: TensorId, eps: f32) -> Result<TensorId, Error> {
        self.same_shape_f32(Op::Norm { eps }, a)
    }

    /// Root mean square 1 per row (`ggml_rms_norm`).
    pub fn rms_norm(&mut self, a: TensorId, eps: f32) -> Result<TensorId, Error> {
        self.same_shape_f32(Op::RmsNorm { eps }, a)
    }

    /// Rotary embedding of `a` (`[n_embd_head, n_head, n_tokens]`) at the i32 positions `pos`
    /// (`[n_tokens]`), with optional per-frequency divisors `factors` (`[n_dims / 2]`, f32) (`ggml_rope_ext`).
    pub fn rope(
        &mut self,
        a: TensorId,
        pos: TensorId,
        factors: Option<TensorId>,
        params: RopeParams,
    ) -> Result<TensorId, Error> {
        let op = Op::Rope(params);
        let (ta, tp) = (&self[a], &self[pos]);
        if tp.dtype != DType::I32 || tp.ne[0] != ta.ne[2] || tp.n_rows() != 1 {
            return Err(self.shapes(op, a, pos, "one i32 position for each token (a's ne[2])"));
        }
        if params.n_dims % 2 != 0 || params.n_dims > ta.ne[0] {
            return Err(self.operand(op, a, "an even number of rotated elements, at most ne[0]"));
        }
        if let Some(factors) = factors {
            let tf = &self[factors];
            if tf.dtype != DType::F32 || tf.ne[0] < params.n_dims / 2 || !tf.is_contiguous() {
                return Err(self.shapes(op, a, factors, "one f32 factor for each pair of rotated elements"));
            }
            self.check_f32(op, a)?;
            let ne = self[a].ne;
            return self.contiguous("", DType::F32, ne, op, &[a, pos, factors]);
        }
        self.check_f32(op, a)?;
        let ne = self[a].ne;
        self.contiguous("", DType::F32, ne, op, &[a, pos])
    }

    /// `softmax(a * scale + slope * mask)` per row; the mask (f16 or f32) is repeated over heads
    /// (`ggml_soft_max_ext`).
    pub fn soft_max(
        &mut self,
        a: TensorId,
        mask: Option<TensorId>,
        scale: f32,
        max_bias: f32,
    ) -> Result<TensorId, Error> {
        let op = Op::SoftMax { scale, max_bias };
        self.check_f32(op, a)?;
        let ne = self[a].ne;
        let Some(mask) = mask else { return self.contiguous("", DType::F32, ne, op, &[a]) };
        let tm = &self[mask];
        let fits = tm.ne[0] == ne[0]
            && tm.ne[1] >= ne[1]
            && tm.ne[2] != 0
            && tm.ne[3] != 0
            && ne[2] % tm.ne[2] == 0
            && ne[3] % tm.ne[3] == 0;
        if !fits || !matches!(tm.dtype, DType::F16 | DType::F32) || !tm.is_contiguous() {
            return Err(self.shapes(op, a, mask, "a contiguous f16 or f32 mask that covers a"));
        }
        self.contiguous("", DType::F32, ne, op, &[a, mask])
    }

    /// Attention of queries `q` (f32 `[d_k, n_tokens, n_head]`) over keys `k` (`[d_k, n_kv, n_head_kv]`) and
    /// values `v` (`[d_v, n_kv, n_head_kv]`) with an f16 mask `[n_kv, >= n_tokens]`, giving f32
    /// `[d_v, n_head, n_tokens]` (`ggml_flash_attn_ext`).
    #[allow(clippy::too_many_arguments)] // the op's operands and parameters, as the reference names them
    pub fn flash_attn(
        &mut self,
        q: TensorId,
        k: TensorId,
        v: TensorId,
        mask: Option<TensorId>,
        scale: f32,
        max_bias: f32,
        logit_softcap: f32,
    ) -> Result<TensorId, Error> {
        let op = Op::FlashAttn { scale, max_bias, logit_softcap };
        self.check_f32(op, q)?;
        let (tq, tk, tv) = (&self[q], &self[k], &self[v]);
        if tq.ne[0] != tk.ne[0] || tk.ne[2] == 0 || tq.ne[2] % tk.ne[2] != 0 || tq.ne[3] != tk.ne[3] {
            return Err(self.shapes(op, q, k, "equal head size, and n_head a multiple of n_head_kv"));
        }
        if tk.ne[1..] != tv.ne[1..] || !tk.has_contiguous_rows() || !tv.has_contiguous_rows() {
            return Err(self.shapes(op, k, v, "keys and values of the same cells, rows without gaps"));
        }
        if !tq.has_contiguous_rows() {
            return Err(self.operand(op, q, "rows without gaps"));
        }
        let ne = [tv.ne[0], tq.ne[2], tq.ne[1], tq.ne[3]];
        let Some(mask) = mask else { return self.contiguous("", DType::F32, ne, op, &[q, k, v]) };
        let tm = &self[mask];
        let fits = tm.ne[0] == tk.ne[1] && tm.ne[1] >= tq.ne[1] && tm.ne[2] == 1 && tm.ne[3] == 1;
        if !fits || tm.dtype != DType::F16 || !tm.is_contiguous() {
            return Err(self.shapes(op, k, mask, "a contiguous f16 mask [n_kv, n_tokens]"));
        }
        self.contiguous("", DType::F32, ne, op, &[q, k, v, mask])
    }

    /// Rows of the matrix `a` at the i32 indices `ids` (`[n]`), as f32 `[ne0, n]` (`ggml_get_rows`).
    pub fn get_rows(&mut self, a: TensorId, ids: TensorId) -> Result<TensorId, Error> {
        let (ta, ti) = (&self[a], &self[ids]);
        if ti.dtype != DType::I32 || ti.n_rows() != 1 || ta.ne[2] != 1 || ta.ne[3] != 1 {
            return Err(self.shapes(Op::GetRows, a, ids, "a matrix and a vector of i32 row numbers"));
        }
        let dtype = if ta.dtype == DType::I32 { DType::I32 } else { DType::F32 };
        let ne = [ta.ne[0], ti.ne[0], 1, 1];
        self.contiguous("", dtype, ne, Op::GetRows, &[a, ids])
    }

    /// Writes the rows of `rows` (f32 `[ne0, n]`) into the matrix `a` at the i64 indices `ids` (`[n]`),
    /// converted to `a`'s type; the result is a view of `a` (`ggml_set_rows`).
    pub fn set_rows(&mut self, a: TensorId, rows: TensorId, ids: TensorId) -> Result<TensorId, Error> {
        let op = Op::SetRows;
        self.check_f32(op, rows)?;
        let (ta, tr, ti) = (&self[a], &self[rows], &self[ids]);
        if ta.ne[0] != tr.ne[0] || ta.ne[2] != 1 || ta.ne[3] != 1 || tr.ne[2] != 1 || tr.ne[3] != 1 {
            return Err(self.shapes(op, a, rows, "two matrices of the same row length"));
        }
        if ti.dtype != DType::I64 || ti.n_rows() != 1 || ti.ne[0] != tr.ne[1] {
            return Err(self.shapes(op, rows, ids, "one i64 row number for each row"));
        }
        if !tr.has_contiguous_rows() {
            return Err(self.operand(op, rows, "rows without gaps"));
        }
        let (ne, nb) = (ta.ne, ta.nb);
        Ok(self.view_tensor(a, 0, ne, nb, op, &[rows, ids, a]))
    }

    /// Copies `a` into `b`, converting to `b`'s type; the result is a view of `b` (`ggml_cpy`).
    pub fn cpy(&mut self, a: TensorId, b: TensorId) -> Result<TensorId, Error> {
        if self[a].n_elements() != self[b].n_elements() {
            return Err(self.shapes(Op::Cpy, a, b, "equal numbers of elements"));
        }
        let (ne, nb) = (self[b].ne, self[b].nb);
        Ok(self.view_tensor(b, 0, ne, nb, Op::Cpy, &[a, b]))
    }

    /// A contiguous copy (`ggml_cont`).
    pub fn cont(&mut self, a: TensorId) -> Result<TensorId, Error> {
        let (dtype, ne) = (self[a].dtype, self[a].ne);
        self.contiguous("", dtype, ne, Op::Cont, &[a])
    }

    /// The same bytes in another shape; `a` must be contiguous (`ggml_reshape`).
    pub fn reshape(&mut self, a: TensorId, ne: [usize; MAX_DIMS]) -> Result<TensorId, Error> {
        let ta = &self[a];
        let n = ne.iter().try_fold(1usize, |n, e| n.checked_mul(*e));
        if n != Some(ta.n_elements()) || !ta.is_contiguous() || ne[0] % ta.dtype.block_len() != 0 {
            return Err(self.operand(Op::Reshape, a, "a contiguous tensor of as many elements"));
        }
        let nb = crate::tensor::contiguous_strides(ta.dtype, ne)
            .ok_or_else(|| self.operand(Op::Reshape, a, "a size that fits in 64 bits"))?;
        Ok(self.view_tensor(a, 0, ne, nb, Op::Reshape, &[a]))
    }

    /// A window on `a`: shape `ne`, outer strides `nb` in bytes, starting `offset` bytes in
    /// (`ggml_view_4d`).
    pub fn view(
        &mut self,
        a: TensorId,
        ne: [usize; MAX_DIMS],
        nb: [usize; MAX_DIMS - 1],
        offset: usize,
    ) -> Result<TensorId, Error> {
        let ta = &self[a];
        let dtype = ta.dtype;
        let strides = [dtype.block_bytes(), nb[0], nb[1], nb[2]];
        if ne[0] % dtype.block_len() != 0 {
            return Err(Error::PartialBlock { name: ta.name.clone(), dtype, ne0: ne[0] });
        }
        let end = (1..MAX_DIMS)
            .try_fold(offset, |end, i| end.checked_add(ne[i].saturating_sub(1).checked_mul(strides[i])?))
            .and_then(|end| end.checked_add(dtype.row_bytes(ne[0])?));
        if !ne.contains(&0) && end.is_none_or(|end| end > ta.n_bytes()) {
            return Err(self.operand(Op::View, a, "a window inside its bytes"));
        }
        Ok(self.view_tensor(a, offset, ne, strides, Op::View, &[a]))
    }

    /// Dimensions reordered: dimension `i` of `a` becomes dimension `axes[i]` (`ggml_permute`).
    pub fn permute(&mut self, a: TensorId, axes: [usize; MAX_DIMS]) -> Result<TensorId, Error> {
        let mut seen = [false; MAX_DIMS];
        for axis in axes {
            if axis >= MAX_DIMS || std::mem::replace(&mut seen[axis], true) {
                return Err(self.operand(Op::Permute, a, "each of the axes 0 to 3 once"));
            }
        }
        let (mut ne, mut nb) = ([0; MAX_DIMS], [0; MAX_DIMS]);
        for (i, axis) in axes.into_iter().enumerate() {
            ne[axis] = self[a].ne[i];
            nb[axis] = self[a].nb[i];
        }
        Ok(self.view_tensor(a, 0, ne, nb, Op::Permute, &[a]))
    }

    /// First two dimensions swapped (`ggml_transpose`).
    pub fn transpose(&mut self, a: TensorId) -> TensorId {
        let (mut ne, mut nb) = (self[a].ne, self[a].nb);
        ne.swap(0, 1);
        nb.swap(0, 1);
        self.view_tensor(a, 0, ne, nb, Op::Transpose, &[a])
    }

    /// An element-wise function (`ggml_unary`).
    pub fn unary(&mut self, op: UnaryOp, a: TensorId) -> Result<TensorId, Error> {
        self.same_shape_f32(Op::Unary(op), a)
    }

    /// `f(gate) * up` (`ggml_glu_split`).
    pub fn glu(&mut self, op: GluOp, gate: TensorId, up: TensorId) -> Result<TensorId, Error> {
        let op = Op::Glu(op);
        self.check_f32(op, gate)?;
        self.check_f32(op, up)?;
        if self[gate].ne != self[up].ne {
            return Err(self.shapes(op, gate, up, "equal shapes"));
        }
        let ne = self[gate].ne;
        self.contiguous("", DType::F32, ne, op, &[gate, up])
    }

    fn elementwise(&mut self, op: Op, a: TensorId, b: TensorId) -> Result<TensorId, Error> {
        self.check_f32(op, a)?;
        self.check_f32(op, b)?;
        if !repeats(&self[b], &self[a]) {
            return Err(self.shapes(op, a, b, "b repeatable to a's shape"));
        }
        let ne = self[a].ne;
        self.contiguous("", DType::F32, ne, op, &[a, b])
    }

    fn same_shape_f32(&mut self, op: Op, a: TensorId) -> Result<TensorId, Error> {
        self.check_f32(op, a)?;
        let ne = self[a].ne;
        self.contiguous("", DType::F32, ne, op, &[a])
    }

    fn check_f32(&self, op: Op, a: TensorId) -> Result<(), Error> {
        let ta = &self[a];
        if ta.dtype != DType::F32 || !ta.has_contiguous_rows() {
            return Err(self.operand(op, a, "f32 rows without gaps"));
        }
        Ok(())
    }

    fn shapes(&self, op: Op, a: TensorId, b: TensorId, expected: &'static str) -> Error {
        let (ta, tb) = (&self[a], &self[b]);
        Error::Shapes {
            op: op.name(),
            a: ta.name.clone(),
            a_ne: ta.ne,
            b: tb.name.clone(),
            b_ne: tb.ne,
            expected,
        }
    }

    fn operand(&self, op: Op, a: TensorId, expected: &'static str) -> Error {
        let ta = &self[a];
        Error::Operand { op: op.name(), name: ta.name.clone(), ne: ta.ne, dtype: ta.dtype, expected }
    }
}

/// `small` can be repeated to `large`'s shape (`ggml_can_repeat`).
fn repeats(small: &Tensor, large: &Tensor) -> bool {
    small.ne.iter().zip(large.ne).all(|(s, l)| *s != 0 && l % s == 0)
}
