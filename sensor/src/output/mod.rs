//! Where documents go. An output takes whole documents and knows nothing of what they mean.

pub mod stream;
