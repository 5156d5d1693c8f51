//! The configuration's JSON as a list of options, each with the values of one occurrence.

use serde_json::{Map, Value};

/// Name and values, in the order of the first occurrence of each name.
pub type Occurrence = (String, Vec<String>);

pub fn occurrences(cfg: &[u8]) -> Result<Vec<Occurrence>, String> {
    // What nffi.load hands over where it was given no configuration.
    let cfg = if cfg.is_empty() { b"{}" } else { cfg };
    let options: Map<String, Value> = serde_json::from_slice(cfg)
        .map_err(|error| format!("the configuration must be a JSON object with at least \"handler\": {error}"))?;
    let mut all = Vec::new();
    for (name, value) in options {
        match value {
            Value::Bool(true) => all.push((name, Vec::new())),
            Value::Array(values) => {
                for value in values {
                    let values = match value {
                        Value::Array(values) => values.iter().map(|v| scalar(&name, v)).collect::<Result<_, _>>()?,
                        value => vec![scalar(&name, &value)?],
                    };
                    all.push((name.clone(), values));
                }
            }
            value => {
                let value = scalar(&name, &value)?;
                all.push((name, vec![value]));
            }
        }
    }
    Ok(all)
}

fn scalar(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        _ => Err(format!("{name}: strings, numbers and lists of them only, got {value}")),
    }
}
