//! Components of released versions of the contract: each folder has the contract as it was released and one
//! component of each world, whose sources never change again. They use no SDK, which may change.
#![forbid(unsafe_code)]
