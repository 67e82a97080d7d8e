//! A mapped file that is cut off by another program: zeros and an error, and no other fault is swallowed.
#![cfg(target_os = "linux")]

use std::fs::{File, OpenOptions};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use quipu_gguf::{ByteSource, Error, GgufFile, GgufSet, GgufWriter, MappedFile, SourceKind};
use quipu_quant::DType;

const LEN: usize = 1 << 20;

fn ones(dir: &Path, name: &str) -> (std::path::PathBuf, MappedFile) {
    let path = dir.join(name);
    std::fs::write(&path, vec![1u8; LEN]).unwrap();
    let file = MappedFile::open(&path).unwrap();
    (path, file)
}

fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[test]
fn missing_pages_read_as_zeros_and_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let (path, file) = ones(dir.path(), "a");
    let (_, other) = ones(dir.path(), "b");
    let bytes = file.in_place().unwrap();
    assert_eq!(bytes[LEN - 1], 1);
    cut(&path, 4096);
    assert!(file.check_unchanged().is_ok(), "nothing was read since");
    // The compiler believes that bytes do not change, and remembers what it read.
    let bytes = std::hint::black_box(bytes);
    assert_eq!((bytes[0], bytes[LEN / 2], bytes[LEN - 1]), (1, 0, 0));
    assert!(matches!(file.check_unchanged(), Err(Error::MappingChanged { path: found }) if found == path));
    assert!(matches!(file.read_at(0, &mut [0; 8]), Err(Error::MappingChanged { .. })));
    // It stays wrong, and nobody else is.
    cut(&path, LEN as u64);
    assert!(file.check_unchanged().is_err());
    assert!(other.check_unchanged().is_ok());
    assert_eq!(other.in_place().unwrap()[LEN - 1], 1);
    drop(file);
    // A new mapping in the old one's place in the list begins anew.
    let (_, again) = ones(dir.path(), "a");
    assert!(again.check_unchanged().is_ok());
    assert_eq!(again.in_place().unwrap()[LEN - 1], 1);
}

#[test]
fn many_threads_may_fault_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..8).map(|i| ones(dir.path(), &i.to_string())).collect();
    files.iter().step_by(2).for_each(|(path, _)| cut(path, 0));
    std::thread::scope(|scope| {
        for start in 0..4 {
            let files = &files;
            scope.spawn(move || {
                for (i, (_, file)) in files.iter().enumerate() {
                    let sum: usize =
                        file.in_place().unwrap()[start * 4096..].iter().map(|b| usize::from(*b)).sum();
                    let expected = if i % 2 == 0 { 0 } else { LEN - start * 4096 };
                    assert_eq!(sum, expected);
                }
            });
        }
    });
    for (i, (_, file)) in files.iter().enumerate() {
        assert_eq!(file.check_unchanged().is_err(), i % 2 == 0);
    }
}

#[test]
fn files_that_are_cut_off_are_errors_where_they_are_parsed_and_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let mut writer = GgufWriter::new();
    writer.add_tensor("t", DType::F32, &[1 << 18]).unwrap();
    let mut out = File::create(&path).unwrap();
    writer.write_to(&mut out, |_, sink| sink.write_all(&vec![1; LEN])).unwrap();
    let set = GgufSet::open(&path, SourceKind::Mapped).unwrap();
    let source = std::sync::Arc::new(MappedFile::open(&path).unwrap());
    cut(&path, 0);
    assert_eq!(set.tensor_bytes(0).unwrap()[LEN / 2], 0);
    assert!(matches!(set.check_unchanged(), Err(Error::MappingChanged { .. })));
    assert!(matches!(GgufFile::from_source(source), Err(Error::MappingChanged { .. })));
}

#[test]
fn other_faults_still_end_the_process() {
    const NAME: &str = "other_faults_still_end_the_process";
    let Some(dir) = std::env::var_os("QUIPU_TEST_FAULT_IN") else {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--test-threads", "1"])
            .env("QUIPU_TEST_FAULT_IN", dir.path())
            .status()
            .unwrap();
        assert_eq!(status.signal(), Some(7), "{status}");
        return;
    };
    // Our handler is installed, and the mapping that faults is not ours.
    let (_, ours) = ones(Path::new(&dir), "ours");
    let path = Path::new(&dir).join("theirs");
    std::fs::write(&path, vec![1u8; LEN]).unwrap();
    // SAFETY: read only and private; that it is cut off is the point.
    let theirs = unsafe { memmap2::Mmap::map(&File::open(&path).unwrap()) }.unwrap();
    cut(&path, 0);
    println!("{} {}", ours.in_place().unwrap()[0], theirs[LEN / 2]);
}
