//! The codec against any bytes.

use ipcz::wire::{Envelope, ObjectBytes};

/// Reads `data` as a message: the first byte is the number of handles that came with it, the rest the message.
///
/// Panics if the codec does, or if a message that it accepts does not read the same once it is written again (wire.md 6).
pub fn wire_decode(data: &[u8]) {
    let Some((&handles, bytes)) = data.split_first() else { return };
    let Ok(envelope) = Envelope::parse(bytes, handles.into()) else { return };
    let Ok(Some(message)) = envelope.message() else { return };

    let objects: Vec<ObjectBytes<'_>> =
        envelope.objects().map(|object| ObjectBytes { data: object.data, handles: object.handles.len() as u16 }).collect();
    let mut canonical = Vec::new();
    message.encode(envelope.sequence_number(), &objects, &mut canonical).expect("what fits a message fits the format");

    // Canonical handles are numbered without gaps; those that no object claimed are left out.
    let claimed = objects.iter().map(|object| usize::from(object.handles)).sum();
    let again = Envelope::parse(&canonical, claimed).expect("what is written is a message");
    assert_eq!(again.id(), envelope.id());
    assert_eq!(again.sequence_number(), envelope.sequence_number());
    assert_eq!(again.message(), Ok(Some(message.clone())));
    let written: Vec<ObjectBytes<'_>> =
        again.objects().map(|object| ObjectBytes { data: object.data, handles: object.handles.len() as u16 }).collect();
    assert_eq!(written, objects);

    let mut twice = Vec::new();
    message.encode(again.sequence_number(), &written, &mut twice).expect("it was encoded before");
    assert_eq!(twice, canonical);
}
