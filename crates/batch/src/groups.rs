//! Tokens of a batch by their sequence set.

use std::collections::HashMap;

use crate::{MAX_SEQ, SeqId, SeqSet};

/// No token, no group.
const NONE: u32 = u32::MAX;

/// Tokens with the same sequence set, in batch order.
#[derive(Clone, Copy, Debug)]
struct Group {
    set: SeqSet,
    first: u32,
    last: u32,
    len: u32,
    /// First token that is in no ubatch yet.
    next: u32,
    /// Tokens that are in none.
    left: u32,
}

/// All groups of a batch. Answers to `seq_set_map` of `llama_batch_allocr`; its memory is reused.
///
/// Every way of splitting takes the tokens of a set in their order, so that a group needs to know only its next one.
#[derive(Clone, Debug)]
#[allow(clippy::struct_field_names)] // groups of groups have no other name
pub(crate) struct Groups {
    groups: Vec<Group>,
    of_token: Vec<u32>,
    /// The next token of the same group.
    following: Vec<u32>,
    /// Groups of single sequences.
    of_seq: Vec<u32>,
    of_set: HashMap<SeqSet, u32>,
}

impl Groups {
    pub(crate) fn new() -> Groups {
        Groups {
            groups: Vec::new(),
            of_token: Vec::new(),
            following: Vec::new(),
            of_seq: vec![NONE; MAX_SEQ],
            of_set: HashMap::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.groups.clear();
        self.of_token.clear();
        self.following.clear();
        self.of_seq.fill(NONE);
        self.of_set.clear();
    }

    /// Adds the next token, whose sequence set is `set`; `only` is its one sequence, if it has just one.
    pub(crate) fn push(&mut self, set: SeqSet, only: Option<SeqId>) {
        let token = self.of_token.len() as u32;
        let new = self.groups.len() as u32;
        let known = match only {
            Some(seq_id) => &mut self.of_seq[seq_id as usize],
            None => self.of_set.entry(set).or_insert(NONE),
        };
        if *known == NONE {
            *known = new;
            self.groups.push(Group { set, first: token, last: token, len: 0, next: token, left: 0 });
        } else {
            self.following[self.groups[*known as usize].last as usize] = token;
        }
        self.of_token.push(*known);
        self.following.push(NONE);
        let group = &mut self.groups[*known as usize];
        (group.last, group.len, group.left) = (token, group.len + 1, group.left + 1);
    }

    /// All tokens are in no ubatch.
    pub(crate) fn reset(&mut self) {
        for group in &mut self.groups {
            (group.next, group.left) = (group.first, group.len);
        }
    }

    pub(crate) fn set(&self, token: usize) -> SeqSet {
        self.groups[self.of_token[token] as usize].set
    }

    pub(crate) fn of_token(&self, token: usize) -> u32 {
        self.of_token[token]
    }

    /// Tokens of a group that are in no ubatch.
    pub(crate) fn left(&self, group: u32) -> usize {
        self.groups[group as usize].left as usize
    }

    /// The first of them.
    pub(crate) fn next(&self, group: u32) -> usize {
        self.groups[group as usize].next as usize
    }

    /// `token`, the next of its group, goes into a ubatch.
    pub(crate) fn take(&mut self, token: usize) {
        let group = &mut self.groups[self.of_token[token] as usize];
        debug_assert_eq!(group.next as usize, token, "tokens of a set are taken in their order");
        (group.next, group.left) = (self.following[token], group.left - 1);
    }
}
