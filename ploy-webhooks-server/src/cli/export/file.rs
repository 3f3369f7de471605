//! Where an export is written to: standard output, a new file, or behind what a file has already.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::Deserialize;

use crate::cli::Failure;

/// Where it is written to.
pub(super) enum Output {
    Standard(BufWriter<io::Stdout>),
    File(BufWriter<File>),
}

impl Output {
    pub(super) fn standard() -> Self {
        Self::Standard(BufWriter::new(io::stdout()))
    }

    /// A file that is not there yet.
    pub(super) fn new(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::Failed(format!(
                "{} is there already: --resume goes on behind what it has",
                path.display()
            )),
            _ => Failure::Failed(format!("cannot make {}: {error}", path.display())),
        })?;
        Ok(Self::File(BufWriter::new(file)))
    }

    /// A file that may have lines already, and the id of the last of them. What a line lacks that was
    /// cut off comes again.
    pub(super) fn resumed(path: &Path) -> Result<(Self, Option<String>), Failure> {
        let cannot =
            |error| Failure::Failed(format!("cannot go on with {}: {error}", path.display()));
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = options.map_err(cannot)?;
        let (end, line) = last_line(&mut file).map_err(cannot)?;
        let last = match line {
            Some(line) => Some(id_of(&line).ok_or_else(|| is_another(path))?),
            None if begins_an_export(&mut file).map_err(cannot)? => None,
            None => return Err(is_another(path)),
        };
        file.set_len(end).map_err(cannot)?;
        file.seek(SeekFrom::End(0)).map_err(cannot)?;
        Ok((Self::File(BufWriter::new(file)), last))
    }
}

fn is_another(path: &Path) -> Failure {
    Failure::Failed(format!("{} is not what an export wrote", path.display()))
}

/// Whether a file without a whole line is empty, or the beginning of one: nothing else is written over.
fn begins_an_export(file: &mut File) -> io::Result<bool> {
    const BEGIN: &[u8] = br#"{"id":"evt_"#;
    let mut begin = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    Read::by_ref(file).take(BEGIN.len() as u64).read_to_end(&mut begin)?;
    Ok(BEGIN.starts_with(&begin))
}

fn id_of(line: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Line {
        id: String,
    }
    serde_json::from_slice::<Line>(line).ok().map(|line| line.id)
}

/// Where the last whole line ends, and that line, if there is one: read from the end, since it may be a large file.
fn last_line(file: &mut File) -> io::Result<(u64, Option<Vec<u8>>)> {
    const STEP: u64 = 64 << 10;
    let size = file.seek(SeekFrom::End(0))?;
    let (mut begin, mut tail) = (size, Vec::new());
    loop {
        let end = tail.iter().rposition(|byte| *byte == b'\n');
        let before = end.and_then(|end| tail[..end].iter().rposition(|byte| *byte == b'\n'));
        if begin == 0 || before.is_some() {
            let Some(end) = end else { return Ok((0, None)) };
            let line = tail[before.map_or(0, |before| before + 1)..end].to_vec();
            return Ok((begin + end as u64 + 1, Some(line)));
        }
        let step = STEP.min(begin);
        begin -= step;
        file.seek(SeekFrom::Start(begin))?;
        let mut read = Vec::new();
        Read::by_ref(file).take(step).read_to_end(&mut read)?;
        read.extend_from_slice(&tail);
        tail = read;
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Standard(out) => out.write(bytes),
            Self::File(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Standard(out) => out.flush(),
            Self::File(file) => file.flush(),
        }
    }
}
