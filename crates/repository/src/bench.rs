//! How fast each step of the pipeline is on one core. Run it with
//! `cargo test --release -p basekeep-repository --lib bench -- --ignored --nocapture`.

#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use async_trait::async_trait;
    use basekeep_store::{Memory, Object, Put, Store, StoreError};
    use bytes::Bytes;
    use nix::time::{ClockId, clock_gettime};
    use rand::rngs::SmallRng;
    use rand::{Rng, SeedableRng};

    use crate::chunker::{Chunker, gear};
    use crate::compression::{Packer, Unpacker};
    use crate::crypto::{Key, OVERHEAD};
    use crate::writer::bench_sealer;
    use crate::{BlobId, InitOptions, LockMode, LockOptions, Repository, TreeBuilder, WriterOptions};

    const BLOB: usize = 256 << 10;

    /// Rows about as a table of orders has them.
    fn rows(length: usize) -> Vec<u8> {
        let mut random = SmallRng::seed_from_u64(1);
        let mut text = Vec::with_capacity(length + 200);
        let mut id = 1_000_000_u64;
        while text.len() < length {
            id += 1;
            let n = random.next_u32();
            let line = format!(
                "{id}\t{}\tcustomer{}@example.com\t2024-{:02}-{:02} {:02}:{:02}:{:02}.{:06}+00\t{}.{:02}\tEUR\t{}\t{:032x}\n",
                n % 50_000,
                n % 50_000,
                n % 12 + 1,
                n % 28 + 1,
                n % 24,
                n % 60,
                (n >> 8) % 60,
                n % 1_000_000,
                n % 900,
                n % 100,
                ["new", "paid", "shipped", "returned"][n as usize % 4],
                u128::from(random.next_u64()),
            );
            text.extend_from_slice(line.as_bytes());
        }
        text.truncate(length);
        text
    }

    /// This thread's, so that a busy machine does not matter much.
    fn cpu_time() -> Duration {
        clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
    }

    fn measure(what: &str, bytes: usize, mut work: impl FnMut()) {
        work();
        let best = (0..5).map(|_| {
            let start = cpu_time();
            work();
            cpu_time() - start
        });
        let best = best.min().unwrap().as_secs_f64();
        println!(
            "{what:<28} {:>8.0} MB/s   {:.2} ns/B",
            bytes as f64 / best / 1e6,
            best / bytes as f64 * 1e9
        );
    }

    #[test]
    #[ignore = "measures; run it in release mode"]
    fn steps_on_one_core() {
        let data = rows(64 << 20);
        let gear = gear(0x0025_b468_838d_cb75);
        measure("chunk", data.len(), || {
            let (mut chunker, mut start) = (Chunker::new(BLOB), 0);
            while let Some(length) = chunker.next_cut(&gear, &data[start..]) {
                start += length;
            }
            black_box(start);
        });
        measure("copy into chunks", data.len(), || {
            data.chunks(BLOB).for_each(|blob| drop(black_box(blob.to_vec())))
        });
        measure("sha-256", data.len(), || {
            data.chunks(BLOB).for_each(|blob| {
                black_box(BlobId::of(blob));
            })
        });
        let mut packer = Packer::new(1).unwrap();
        let mut room = vec![0; BLOB];
        let mut packed = Vec::new();
        measure("zstd level 1", data.len(), || {
            packed.clear();
            for blob in data.chunks(BLOB) {
                let length = packer.pack_into(blob, &mut room).unwrap();
                packed.push(room[..length].to_vec());
            }
        });
        let packed_bytes: usize = packed.iter().map(Vec::len).sum();
        println!("  ratio {:.2}", data.len() as f64 / packed_bytes as f64);
        let (mut unpacker, mut plain) = (Unpacker::new().unwrap(), Vec::new());
        measure("unpack (of plain bytes)", data.len(), || {
            for blob in &packed {
                unpacker.unpack_into(blob, BLOB, &mut plain).unwrap();
            }
        });
        let key = Key::random();
        let mut buffer = vec![0; BLOB + OVERHEAD];
        measure("seal (of sealed bytes)", data.len(), || {
            for _ in 0..data.len() / BLOB {
                key.seal_in_place(&mut buffer);
            }
        });
        let sealed = key.seal(&data[..BLOB]);
        measure("open (of sealed bytes)", data.len(), || {
            for _ in 0..data.len() / BLOB {
                key.open_into(&sealed, &mut plain).unwrap();
            }
        });
        measure("xxh3", data.len(), || {
            data.chunks(BLOB).for_each(|blob| {
                black_box(xxhash_rust::xxh3::xxh3_128(blob));
            });
        });
        for verify in [false, true] {
            let mut seal = bench_sealer(verify);
            let what = if verify { "hash + zstd + seal + verify" } else { "hash + zstd + seal" };
            measure(what, data.len(), || data.chunks(BLOB).for_each(|blob| seal(&key, blob)));
        }
    }

    /// Takes packs and keeps nothing of them.
    #[derive(Debug)]
    struct Nowhere(Memory);

    #[async_trait]
    impl Store for Nowhere {
        async fn put(&self, key: &str, data: Bytes) -> Result<Put, StoreError> {
            if key.starts_with("data/") { Ok(Put::Written) } else { self.0.put(key, data).await }
        }
        async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
            self.0.get(key).await
        }
        async fn get_range(&self, key: &str, range: std::ops::Range<u64>) -> Result<Bytes, StoreError> {
            self.0.get_range(key, range).await
        }
        async fn size(&self, key: &str) -> Result<u64, StoreError> {
            self.0.size(key).await
        }
        async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
            self.0.list(prefix).await
        }
        async fn delete(&self, key: &str) -> Result<(), StoreError> {
            self.0.delete(key).await
        }
        fn location(&self) -> String {
            "nowhere".to_owned()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    #[ignore = "measures; run it in release mode"]
    async fn the_whole_pipeline_on_all_cores() {
        let data = Arc::new(rows(256 << 20));
        for (what, level, verify, streams) in [
            ("pipeline, 4 streams", 1, true, 4_usize),
            ("pipeline, 1 stream", 1, true, 1),
            ("pipeline without verify", 1, false, 4),
        ] {
            let options = InitOptions { scrypt_log_n: Some(10), ..InitOptions::default() };
            let repository =
                Repository::init(Arc::new(Nowhere(Memory::new())), &"x".into(), options).await.unwrap();
            let lock = repository.lock_with(LockMode::Shared, LockOptions::default()).await.unwrap();
            let options = WriterOptions { compression: level, verify, ..WriterOptions::default() };
            let writer = repository.writer(&lock, options);
            let start = Instant::now();
            let mut tasks = tokio::task::JoinSet::new();
            for n in 0..streams {
                let (writer, data) = (writer.clone(), data.clone());
                tasks.spawn(async move {
                    let mut file = writer.file(BLOB);
                    let share = data.len() / streams;
                    for part in data[n * share..(n + 1) * share].chunks(64 << 10) {
                        file.buffer().extend_from_slice(part);
                        file.advance().await.unwrap();
                    }
                    file.finish().await.unwrap()
                });
            }
            tasks.join_all().await;
            let stats = writer.stats();
            let tree = TreeBuilder::new(jiff::Timestamp::now());
            let new = crate::NewSnapshot {
                time: jiff::Timestamp::now(),
                hostname: String::new(),
                username: String::new(),
                paths: vec![],
                tags: vec![],
                parent: None,
                program_version: String::new(),
            };
            writer.finish(tree, new).await.unwrap();
            let seconds = start.elapsed().as_secs_f64();
            println!("{what:<28} {:>8.0} MB/s   {stats:?}", stats.bytes_in as f64 / seconds / 1e6);
            lock.release().await.unwrap();
        }
    }
}
