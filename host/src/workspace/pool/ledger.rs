//! The records of a pool's slots on disk, and the lock under which they are read, decided upon and written. It is held
//! for that only, never while a slot is being cleaned: so several processes can use one pool at the same time.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::domain::pool::{Health, SlotRecord};
use crate::workspace::WorkspaceError;
use crate::workspace::clean::{remove, write};

/// The file of a record in `host/<n>`.
const RECORD: &str = "slot.json";
/// The file whose lock serialises changes.
const LOCK: &str = "pool.lock";
/// A record is read up to here; the largest one that is written is far smaller.
const MAX_RECORD_BYTES: u64 = 256 * 1024;

/// Where the records are. All methods block.
#[derive(Debug, Clone)]
pub(super) struct Ledger {
    /// `host/`
    dir: PathBuf,
}

impl Ledger {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// All records, by number. One that cannot be read counts as isolated: who has the slot is not known.
    pub(super) fn read(&self, now: Timestamp) -> Vec<SlotRecord> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let mut numbers: Vec<u32> = numbers.filter(|number| *number > 0).collect();
        numbers.sort_unstable();
        numbers.into_iter().map(|number| self.record(number, now)).collect()
    }

    fn record(&self, number: u32, now: Timestamp) -> SlotRecord {
        let folder = self.dir.join(number.to_string());
        let path = folder.join(RECORD);
        let mut record = SlotRecord::new(number, now);
        let reason = match fs::metadata(&path) {
            Ok(found) if found.len() > MAX_RECORD_BYTES => "it is too large".to_owned(),
            Ok(_) => match fs::read(&path).map_err(|e| e.to_string()).and_then(|bytes| parse(&bytes, number)) {
                Ok(record) => return record,
                Err(reason) => reason,
            },
            // A slot of an earlier version, or one that was only begun: nobody has it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                if folder.join("index").exists() {
                    record.health = Health::Dirty;
                }
                return record;
            }
            Err(error) => error.to_string(),
        };
        record.health = Health::Broken;
        record.isolate(&format!("its record {} cannot be read: {reason}", path.display()), now);
        record
    }

    /// Decides over all records and writes those that `decide` changed. Others wait meanwhile.
    pub(super) fn change<T>(
        &self,
        now: Timestamp,
        decide: impl FnOnce(&mut Vec<SlotRecord>) -> T,
    ) -> Result<T, WorkspaceError> {
        let _lock = self.lock()?;
        let before = self.read(now);
        let mut records = before.clone();
        let decided = decide(&mut records);
        for record in &records {
            if before.iter().find(|old| old.number == record.number) != Some(record) {
                self.write(record)?;
            }
        }
        Ok(decided)
    }

    /// Takes a slot's record away: the last thing that is left of it.
    pub(super) fn forget(&self, number: u32) -> Result<(), WorkspaceError> {
        let _lock = self.lock()?;
        remove(&self.dir.join(number.to_string()))
    }

    fn write(&self, record: &SlotRecord) -> Result<(), WorkspaceError> {
        let folder = self.dir.join(record.number.to_string());
        fs::create_dir_all(&folder).map_err(WorkspaceError::io(&folder))?;
        let text = serde_json::to_string(record).map_err(|error| WorkspaceError::Objects {
            what: "a slot's record".to_owned(),
            detail: error.to_string(),
        })?;
        write(&folder.join(RECORD), &text)
    }

    fn lock(&self) -> Result<File, WorkspaceError> {
        fs::create_dir_all(&self.dir).map_err(WorkspaceError::io(&self.dir))?;
        let path = self.dir.join(LOCK);
        let open = |path: &Path| OpenOptions::new().create(true).truncate(false).write(true).open(path);
        let file = open(&path).map_err(WorkspaceError::io(&path))?;
        file.lock().map_err(WorkspaceError::io(&path))?;
        Ok(file)
    }
}

fn parse(bytes: &[u8], number: u32) -> Result<SlotRecord, String> {
    let record: SlotRecord = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if record.number != number {
        return Err(format!("it is of slot {}", record.number));
    }
    Ok(record)
}
