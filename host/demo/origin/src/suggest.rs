//! Names that someone may have meant. Nothing is here yet.
