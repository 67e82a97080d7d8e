//! What files say of state space models.

use super::{Keys, MAX_DIM};
use crate::error::Error;

/// Shape of the state space models of recurrent layers; all 0 where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ssm {
    /// Columns of the convolution's kernel (`ssm_d_conv`).
    pub d_conv: usize,
    /// Channels (`ssm_d_inner`).
    pub d_inner: usize,
    /// Elements of a channel's state (`ssm_d_state`).
    pub d_state: usize,
    /// Heads that channels form, or the rank of the steps where each channel is one (`ssm_dt_rank`).
    pub dt_rank: usize,
    /// Groups of heads that take in and are read alike (`ssm_n_group`).
    pub n_group: usize,
}

impl Ssm {
    /// Of models in which each channel is a head.
    pub(crate) fn read(keys: &Keys<'_>) -> Result<Ssm, Error> {
        let ssm = Ssm {
            d_conv: keys.dim("ssm.conv_kernel", MAX_DIM)?,
            d_inner: keys.dim("ssm.inner_size", MAX_DIM)?,
            d_state: keys.dim("ssm.state_size", MAX_DIM)?,
            dt_rank: keys.dim("ssm.time_step_rank", MAX_DIM)?,
            n_group: 0,
        };
        if ssm.d_conv < 2 {
            return Err(keys.error("ssm.conv_kernel", &ssm.d_conv, "at least 2"));
        }
        Ok(ssm)
    }

    /// Of models whose channels form heads, in groups.
    pub(crate) fn read_heads(keys: &Keys<'_>) -> Result<Ssm, Error> {
        let ssm = Ssm { n_group: keys.dim("ssm.group_count", MAX_DIM)?, ..Ssm::read(keys)? };
        let Ssm { d_inner, dt_rank, n_group, .. } = ssm;
        if !d_inner.is_multiple_of(dt_rank) {
            let expected = format!("a divisor of the {d_inner} channels");
            return Err(keys.error("ssm.time_step_rank", &dt_rank, expected));
        }
        if !d_inner.is_multiple_of(n_group) || !dt_rank.is_multiple_of(n_group) {
            let expected = format!("a divisor of {d_inner} channels and {dt_rank} heads");
            return Err(keys.error("ssm.group_count", &n_group, expected));
        }
        Ok(ssm)
    }

    /// Of Kimi's delta attention: `n_head` heads, as many for queries and keys as for values, all of one size.
    pub(crate) fn read_kda(keys: &Keys<'_>, n_head: usize) -> Result<Ssm, Error> {
        let (d_conv, size) = (keys.dim("ssm.conv_kernel", MAX_DIM)?, keys.dim("kda.head_dim", MAX_DIM)?);
        if d_conv < 2 {
            return Err(keys.error("ssm.conv_kernel", &d_conv, "at least 2"));
        }
        let Some(d_inner) = size.checked_mul(n_head).filter(|n| (1..=MAX_DIM as usize).contains(n)) else {
            let expected =
                format!("a size of which {n_head} heads, at least one, have at most {MAX_DIM} elements");
            return Err(keys.error("kda.head_dim", &size, expected));
        };
        Ok(Ssm { d_conv, d_inner, d_state: size, dt_rank: n_head, n_group: n_head })
    }

    /// Refuses an expansion other than by two, as the reference does.
    pub(crate) fn doubles(self, keys: &Keys<'_>, n_embd: usize) -> Result<Ssm, Error> {
        if self.d_inner == 2 * n_embd {
            return Ok(self);
        }
        Err(keys.error("ssm.inner_size", &self.d_inner, format!("{}, twice the width", 2 * n_embd)))
    }

    /// Elements of a head.
    pub fn head_size(&self) -> usize {
        self.d_inner / self.dt_rank.max(1)
    }

    /// Channels that are convolved.
    pub fn n_conv(&self) -> usize {
        self.d_inner + 2 * self.n_group * self.d_state
    }
}
