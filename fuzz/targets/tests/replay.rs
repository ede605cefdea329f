//! Every file of the corpora, through its target's body: what a fuzzer once found stays found.

use std::fs;
use std::path::Path;

use ipcz::wire::{Envelope, Message};

/// The files, by name. The test runner shows what is printed only of a test that fails: the last name is the culprit's.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let read = |file: std::io::Result<fs::DirEntry>| {
        let path = file.unwrap().path();
        let data = fs::read(&path).unwrap();
        (path.display().to_string(), data)
    };
    files.map(read).collect()
}

#[test]
fn wire_decode() {
    for (name, data) in corpus("wire_decode") {
        println!("{name}");
        ipcz_fuzz_targets::wire_decode(&data);
    }
}

#[test]
fn schedule() {
    let corpus = corpus("schedule");
    assert!(corpus.len() >= 20, "only {} schedules", corpus.len());
    for (name, data) in corpus {
        println!("{name}");
        ipcz_fuzz_targets::schedule(&data);
    }
}

/// Without this, a corpus that was moved or spoilt would replay without a complaint.
#[test]
fn the_wire_corpus_has_every_message_and_refused_ones() {
    let (mut ids, mut refused) = (Vec::new(), 0);
    for (_, data) in corpus("wire_decode") {
        let Some((&handles, bytes)) = data.split_first() else { continue };
        match Envelope::parse(bytes, handles.into()).map(|envelope| envelope.message()) {
            Ok(Ok(Some(message))) => ids.push(message.id()),
            Ok(Ok(None)) => {}
            Ok(Err(_)) | Err(_) => refused += 1,
        }
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids, Message::IDS);
    assert!(refused >= 40, "only {refused} refused");
}
