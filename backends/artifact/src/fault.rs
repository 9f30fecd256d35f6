//! What can go wrong between code and file. It refuses to know why the code is as it is.

/// Why nothing usable was written.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The code breaks a law that its maker had to keep: ours to mend, not the user's.
    #[error("code generation: {0}")]
    Code(String),
    /// A distance or a size does not fit its field: the model is too large to embed.
    #[error("too large: {0}; keep the weights in a file of their own (--weights file)")]
    TooLarge(String),
    /// A description or a name cannot be put into a header.
    #[error("cannot describe the model: {0}")]
    Describe(String),
    #[error("writing failed: {0}")]
    Write(#[from] std::io::Error),
}
