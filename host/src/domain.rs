//! The pure core: what a task, an event, a decision *is*, and every rule about them. No I/O, no
//! clock, no randomness here; time and ids come in as arguments.

pub mod artifact;
pub mod assignment;
pub mod breaker;
pub mod budget;
pub mod call;
pub mod dispatch;
pub mod event;
pub mod evict;
pub mod excerpt;
pub mod exchange;
pub mod grant;
pub mod graph;
pub mod id;
pub mod issue;
pub mod judges;
pub mod limits;
pub mod llm;
pub mod mask;
pub mod playbook;
pub mod policy;
pub mod pool;
pub mod protocol;
pub mod release;
pub mod review;
pub mod seat;
pub mod task;
pub mod team;
pub mod verdict;
pub mod waits;
pub mod work;
