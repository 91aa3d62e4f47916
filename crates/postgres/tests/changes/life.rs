//! One life: a few tables, several sessions that write to them by turns, and snapshots in between.

use super::random::Random;
use super::sight::{self, Counts, Sight};
use super::statements;
use basekeep_postgres::Client;
use basekeep_testkit::TestDatabase;

/// Sessions that write, each perhaps in a transaction that others do not see yet.
const WRITERS: usize = 3;

pub(crate) struct Life {
    random: Random,
    tables: Vec<&'static str>,
    writers: Vec<Writer>,
    /// Never in a transaction.
    maintainer: Client,
    reader: Client,
    prepared: Vec<Prepared>,
    transactions: u32,
    log: Vec<String>,
}

struct Writer {
    client: Client,
    /// Holds a lock that a reader waits for.
    exclusive: bool,
}

struct Prepared {
    name: String,
    exclusive: bool,
}

impl Life {
    pub(crate) async fn begin(database: &TestDatabase) -> Self {
        let mut writers = Vec::new();
        for _ in 0..WRITERS {
            writers.push(Writer { client: patient(database).await, exclusive: false });
        }
        Self {
            random: Random::new(0),
            tables: Vec::new(),
            writers,
            maintainer: patient(database).await,
            reader: database.client().await,
            prepared: Vec::new(),
            transactions: 0,
            log: Vec::new(),
        }
    }

    /// Lives a whole life from a seed: `histories` times some statements and a snapshot, which is compared with the one before and with
    /// an older one.
    pub(crate) async fn live(&mut self, seed: u64, histories: u32) -> Counts {
        self.random = Random::new(seed);
        self.log.clear();
        let (sql, tables) = statements::tables(&mut self.random);
        self.tables = tables;
        self.maintainer.execute(&sql).await.unwrap();
        let mut sights: Vec<Sight> = vec![self.look(None).await];
        self.reader.execute("ROLLBACK").await.unwrap();
        let mut counts = Counts::default();
        for _ in 0..histories {
            for _ in 0..2 + self.random.below(12) {
                self.act().await;
            }
            let now = self.look(sights.last()).await;
            let older = self.random.below(sights.len() as u64) as usize;
            let mut parents = vec![sights.len() - 1];
            if older != parents[0] && self.random.chance(30) {
                parents.push(older);
            }
            for parent in parents {
                match sight::compare(&mut self.reader, &sights[parent], &now).await {
                    Ok(found) => counts += found,
                    Err(error) => panic!(
                        "{}\nseed {seed}, history {} from parent {parent}: {error}",
                        self.log.join("\n"),
                        sights.len()
                    ),
                }
            }
            let now = self.stored(now).await;
            self.reader.execute("ROLLBACK").await.unwrap();
            sights.push(now);
        }
        self.end().await;
        counts
    }

    /// Takes a snapshot and reads everything. Leaves the reader in its transaction.
    async fn look(&mut self, parent: Option<&Sight>) -> Sight {
        loop {
            let facts = sight::begin(&mut self.reader).await;
            // A reader waits here until nobody has an exclusive lock. Definitions that were changed just now need a new
            // snapshot.
            let moved = self.give_way().await;
            let tables = match sight::tables(&mut self.reader).await {
                Some(tables) if !moved && sight::lock(&mut self.reader, &tables).await => tables,
                _ => {
                    self.log.push("-- the snapshot is taken again".into());
                    self.reader.execute("ROLLBACK").await.unwrap();
                    continue;
                }
            };
            self.log.push(format!("-- snapshot {}", facts.snapshot));
            return sight::read(&mut self.reader, facts, tables, parent, &mut self.random).await;
        }
    }

    /// What the backup has stored: sometimes somebody changed a type while it read, and it shows in the text.
    async fn stored(&mut self, now: Sight) -> Sight {
        if !self.random.chance(10) {
            return now;
        }
        let [rename, back] = statements::label(&mut self.random);
        let result = self.maintainer.execute(&rename).await;
        self.note("while the backup reads", &rename, &result);
        let tables = now.tables.values().map(|seen| seen.table.clone()).collect();
        let stored =
            sight::read(&mut self.reader, now.facts.clone(), tables, Some(&now), &mut self.random).await;
        if self.random.chance(50) {
            let result = self.maintainer.execute(&back).await;
            self.note("afterwards", &back, &result);
        }
        stored
    }

    async fn act(&mut self) {
        let table = *self.random.pick(&self.tables);
        let kind = self.random.below(100);
        if kind < 12 {
            let sql = statements::maintenance(&mut self.random, table);
            let result = self.maintainer.execute(&sql).await;
            return self.note("maintainer", &sql, &result);
        }
        if kind < 15 {
            return self.end_prepared().await;
        }
        let number = self.random.below(WRITERS as u64) as usize;
        let inside = self.writers[number].client.in_transaction();
        let (sql, exclusive) = match kind {
            15..23 => {
                let other = *self.random.pick(&self.tables);
                (statements::definition(&mut self.random, table, other), true)
            }
            // A changed composite type is locked until the transaction ends, and COPY waits for that where it renders one.
            23..26 => (statements::types(&mut self.random), true),
            26..42 if !inside => ("BEGIN".into(), false),
            26..36 if inside => (self.end_transaction(number), false),
            36..39 => ("SAVEPOINT s".into(), false),
            39..42 => ("ROLLBACK TO SAVEPOINT s".into(), false),
            _ => (statements::rows(&mut self.random, table), false),
        };
        self.run(number, &sql, exclusive).await;
    }

    async fn run(&mut self, number: usize, sql: &str, exclusive: bool) {
        let writer = &mut self.writers[number];
        let mut result = writer.client.execute(sql).await;
        if result.is_err() && writer.client.in_transaction() {
            // The transaction goes on from its savepoint, if it has one.
            if writer.client.execute("ROLLBACK TO SAVEPOINT s").await.is_err() {
                result = writer.client.execute("ROLLBACK").await.and(result);
            }
        }
        writer.exclusive = (writer.exclusive || exclusive) && writer.client.in_transaction();
        self.note(&format!("writer {number}"), sql, &result);
    }

    fn end_transaction(&mut self, number: usize) -> String {
        match self.random.below(5) {
            0 => "ROLLBACK".into(),
            1 => {
                self.transactions += 1;
                let name = format!("g{}", self.transactions);
                let sql = format!("PREPARE TRANSACTION '{name}'");
                // Where it fails, ending it later fails too.
                self.prepared.push(Prepared { name, exclusive: self.writers[number].exclusive });
                sql
            }
            _ => "COMMIT".into(),
        }
    }

    async fn end_prepared(&mut self) {
        if self.prepared.is_empty() {
            return;
        }
        let which = self.random.below(self.prepared.len() as u64) as usize;
        let ended = self.prepared.swap_remove(which);
        let how = if self.random.chance(70) { "COMMIT" } else { "ROLLBACK" };
        let sql = format!("{how} PREPARED '{}'", ended.name);
        let result = self.maintainer.execute(&sql).await;
        self.note("maintainer", &sql, &result);
    }

    /// Ends the transactions that a reader's locks wait for. True when one of them committed.
    async fn give_way(&mut self) -> bool {
        let mut moved = false;
        for number in 0..WRITERS {
            if self.writers[number].exclusive {
                let commit = self.random.chance(60);
                moved |= commit;
                self.run(number, if commit { "COMMIT" } else { "ROLLBACK" }, false).await;
            }
        }
        while let Some(place) = self.prepared.iter().position(|prepared| prepared.exclusive) {
            let name = self.prepared.swap_remove(place).name;
            let sql = format!("COMMIT PREPARED '{name}'");
            let result = self.maintainer.execute(&sql).await;
            self.note("maintainer", &sql, &result);
            moved = true;
        }
        moved
    }

    /// Leaves nothing behind for the next one.
    async fn end(&mut self) {
        for writer in &mut self.writers {
            writer.client.execute("ROLLBACK").await.unwrap();
            writer.exclusive = false;
        }
        for prepared in self.prepared.drain(..) {
            // Some were never prepared.
            let _ = self.maintainer.execute(&format!("ROLLBACK PREPARED '{}'", prepared.name)).await;
        }
        self.maintainer.execute("SET client_min_messages = error; DROP SCHEMA m CASCADE").await.unwrap();
    }

    fn note(&mut self, who: &str, sql: &str, result: &Result<(), basekeep_postgres::Error>) {
        let outcome = match result {
            Ok(()) => String::new(),
            Err(error) => format!("  -- {error}"),
        };
        self.log.push(format!("{who}: {sql};{outcome}"));
    }
}

/// A session that gives a lock up at once: whoever holds it does nothing meanwhile.
async fn patient(database: &TestDatabase) -> Client {
    let mut client = database.client().await;
    client.execute("SET lock_timeout = '1ms'; SET client_min_messages = error; SET jit = off").await.unwrap();
    client
}
