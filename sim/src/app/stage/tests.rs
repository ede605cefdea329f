#![cfg(test)]

use super::*;
use crate::choice::Source;
use crate::world::Config;

/// A stage at depth L1 with one node, whose application leaves everything unread until told otherwise.
fn lazy() -> Stage {
    let mut stage = Stage::new(World::new(Config::default(), Source::seeded(1, "lazy")));
    let spec = NodeSpec { name: "n".to_owned(), broker: true, loose: None, delegate: false, mem_v2: false, hostile: false };
    stage.add_node(&spec, NodeOptions::default(), None).unwrap();
    (stage.lazy, stage.threads) = (([1, 1], 1), Some(Threads::default()));
    stage
}

/// The application does all that it has to do.
fn work(stage: &mut Stage) {
    while let Some((job, _)) = stage.threads.as_mut().and_then(|threads| threads.take(0)) {
        let mut next = stage.begin(job).unwrap();
        while let Some(call) = next {
            let answer = perform(stage.process(0).unwrap(), &call.doing);
            next = stage.finish(call, answer).unwrap();
        }
        stage.read_all().unwrap();
    }
    stage.serve().unwrap();
}

#[test]
fn a_portal_that_was_to_be_read_while_a_put_had_it_is_read_once_that_is_refused() {
    let mut stage = lazy();
    let (reader, carrier) = (stage.open(0, Role::Random).unwrap(), stage.open(0, Role::Random).unwrap());
    work(&mut stage);
    stage.put(reader.twin(), 16, None).unwrap();
    stage.close(carrier.twin()).unwrap();
    work(&mut stage);
    assert_eq!(stage.unread, [reader, carrier], "the traps have fired, and nothing was read yet");

    let call = stage.begin(Job::Put { end: carrier, length: 0, attached: Some(reader), boxes: 0 }).unwrap().unwrap();
    stage.read_late(reader).unwrap();
    assert!(!stage.threads.as_ref().unwrap().has(0), "it is in a parcel, for all that is known");
    let answer = perform(stage.process(0).unwrap(), &call.doing);
    assert!(matches!(answer, Answer::Put(Err(Error::NotFound))), "{answer:?}");
    assert!(stage.finish(call, answer).unwrap().is_none());
    stage.read_all().unwrap();
    work(&mut stage);
    assert_eq!(stage.deliveries, 1);
}
