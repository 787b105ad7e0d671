//! Books as text files. Nothing is here yet.
