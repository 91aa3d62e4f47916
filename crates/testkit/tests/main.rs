//! The testkit proven with real servers: clusters come and go, fixtures load everywhere and survive stock tools.

mod cluster;
mod fixtures;
