//! The golden file, read.
#![allow(dead_code, reason = "each test binary uses its own part")]

use serde_json::Value as Json;

/// One message of the file.
pub struct Vector {
    /// Its name, or phase and place among the captured.
    pub name: String,
    /// The message.
    pub bytes: Vec<u8>,
    /// Everything the file says of it.
    pub json: Json,
}

impl Vector {
    /// The id the file gives.
    pub fn message_id(&self) -> u8 {
        self.json["message_id"].as_u64().unwrap() as u8
    }

    /// The header's sequence number as the file writes it.
    pub fn sequence_number_text(&self) -> &str {
        self.json["sequence_number"].as_str().or(self.json["header"]["sequence_number"].as_str()).unwrap()
    }
}

/// The built messages: kinds `valid` and `valid-variant`.
pub fn vectors() -> Vec<Vector> {
    list("vectors")
}

/// Real traffic.
pub fn captured() -> Vec<Vector> {
    list("captured")
}

/// Structural cases.
pub fn malformed() -> Vec<Vector> {
    list("malformed")
}

/// All messages, good and bad.
pub fn everything() -> Vec<Vector> {
    ["vectors", "captured", "malformed"].into_iter().flat_map(list).collect()
}

/// One list of the file.
pub fn list(key: &str) -> Vec<Vector> {
    let file: Json = serde_json::from_str(include_str!("../golden/wire_vectors.json")).unwrap();
    let vector = |(index, json): (usize, &Json)| Vector {
        name: json["name"].as_str().map_or_else(|| format!("{} {index} {}", json["session"], json["phase"]), str::to_owned),
        bytes: unhex(json["hex"].as_str().unwrap()),
        json: json.clone(),
    };
    file[key].as_array().unwrap().iter().enumerate().map(vector).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
