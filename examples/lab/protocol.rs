//! An option for each field of a protocol: `batch_size` is `--batch-size`, lists may lose their plural.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};
use serde_json::{Map, Value};
use tiebreak::lab::{Entry, FULL};

/// clap keeps names as long as the program runs.
pub fn kebab(name: &str) -> &'static str {
    name.replace('_', "-").leak()
}

/// The options of an experiment.
pub fn options(entry: &'static Entry) -> Vec<Arg> {
    let (small, published) = (entry.defaults(false), entry.defaults(true));
    let option = |field: &tiebreak::lab::Field| {
        let [small, published] = [&small[field.name], &published[field.name]];
        let arg = Arg::new(field.name);
        if let Value::Bool(default) = small {
            // What is so by default can be switched off.
            let (flag, about) = match default {
                true => (format!("no-{}", field.name), format!("No {}", uncapitalised(field.about.trim()))),
                false => (field.name.to_string(), field.about.trim().to_string()),
            };
            return arg.long(kebab(&flag)).help(about).action(ArgAction::SetTrue);
        }
        let sizes = match small == published {
            true => text(small),
            false => format!("{}; --full: {}", text(small), text(published)),
        };
        let list = small.is_array();
        let arg = arg.long(kebab(field.name)).value_name(if list { "LIST" } else { "VALUE" });
        let singular = field.name.strip_suffix('s').filter(|_| list);
        let arg = singular.into_iter().fold(arg, |arg, name| arg.visible_alias(kebab(name)));
        arg.help(format!("{} [default: {sizes}]", field.about.trim())).allow_hyphen_values(true)
    };
    let mut options: Vec<Arg> = entry.fields.iter().map(option).collect();
    if small != published {
        options.push(
            Arg::new(FULL)
                .long(FULL)
                .help("The published size; where nothing is published, a large one")
                .action(ArgAction::SetTrue),
        );
    }
    options
}

fn uncapitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().into_iter().flat_map(char::to_lowercase).chain(letters).collect()
}

/// The protocol that the command line asks for.
pub fn given(entry: &Entry, arguments: &ArgMatches) -> Map<String, Value> {
    let defaults = entry.defaults(false);
    let names = entry.fields.iter().map(|field| field.name).chain([FULL]);
    let chosen = names.filter(|name| {
        arguments.try_contains_id(name).is_ok()
            && arguments.value_source(name) == Some(ValueSource::CommandLine)
    });
    let value = |name: &str| match defaults.get(name) {
        // A flag: it changes what is so by default.
        Some(Value::Bool(default)) => Value::Bool(!default),
        None => Value::Bool(true),
        Some(default) => {
            value(arguments.get_one::<String>(name).expect("it has a value"), default.is_array())
        }
    };
    chosen.map(|name| (name.to_string(), value(name))).collect()
}

/// JSON where it is some, else a text; a list is the parts between commas.
fn value(text: &str, list: bool) -> Value {
    let one = |text: &str| match text.trim() {
        "none" => Value::Null,
        text => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
    };
    match one(text) {
        Value::Null => Value::Null,
        all @ Value::Array(_) => all,
        _ if list => text.split(',').map(one).collect(),
        value => value,
    }
}

/// As the command line takes it.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        // 10, not 10.0.
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |v| v.to_string()),
        Value::Array(values) if !values.iter().any(Value::is_array) => {
            values.iter().map(text).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}
