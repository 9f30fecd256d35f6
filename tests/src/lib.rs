//! What the tests of the whole house share: the runner of filetests. Tests of one room live in that room.

pub mod filetest;
