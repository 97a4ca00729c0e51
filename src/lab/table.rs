//! All rows of an experiment as columns, for programs that compute with them.

use super::columns::{Columns, Value};
use super::journal::Record;

/// A column of a table, a cell for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Measurements; NaN where a row has none.
    Numbers(Vec<f64>),
    /// Counts, seeds, widths in bits.
    Integers(Vec<u64>),
    /// Names; empty where a row has none.
    Texts(Vec<String>),
}

impl Column {
    /// A cell as `results.csv` has it, except that a number that a row lacks is NaN; `None` beyond the rows.
    pub fn text(&self, row: usize) -> Option<String> {
        match self {
            Column::Numbers(cells) => cells.get(row).map(|&v| Value::Number(v).to_string()),
            Column::Integers(cells) => cells.get(row).map(u64::to_string),
            Column::Texts(cells) => cells.get(row).cloned(),
        }
    }
}

/// What `results.csv` holds, by column.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Number of rows.
    pub rows: usize,
    /// Names and cells, in the order of the file.
    pub columns: Vec<(String, Column)>,
}

impl Table {
    /// Each row behind the settings of its unit.
    pub fn of(records: &[Record]) -> Table {
        let rows: Vec<Columns> = records.iter().flat_map(Record::tidy_rows).collect();
        let column = |name: String| {
            let cells = column(&rows, &name);
            (name, cells)
        };
        Table { rows: rows.len(), columns: column_names(records).into_iter().map(column).collect() }
    }
}

fn column(rows: &[Columns], name: &str) -> Column {
    let cells = || rows.iter().map(|row| row.get(name));
    if cells().any(|cell| matches!(cell, Some(Value::Text(_)))) {
        return Column::Texts(rows.iter().map(|row| row.text(name)).collect());
    }
    let integer = |cell: Option<&Value>| match cell {
        Some(Value::Integer(v)) => Some(*v),
        _ => None,
    };
    match cells().map(integer).collect() {
        Some(integers) => Column::Integers(integers),
        None => Column::Numbers(rows.iter().map(|row| row.number(name)).collect()),
    }
}

/// The columns of all rows, in the order of their first appearance.
pub(super) fn column_names(records: &[Record]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for row in records.iter().flat_map(Record::tidy_rows) {
        for (name, _) in row.iter() {
            if !names.iter().any(|n| n == name) {
                names.push(name.into());
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_the_type_of_their_cells() {
        let row = |seed: u64| Columns::new().with("seed", seed).with("loss", 0.5);
        let record =
            |order: &str, rows| Record { settings: Columns::new().with("order", order), rows, seconds: 0.0 };
        let records = [
            record("fixed", vec![row(1), row(u64::MAX).with("extra", 7u64)]),
            record("seeded", vec![row(3).with("mixed", "x"), row(4).with("mixed", 2.5)]),
        ];
        let table = Table::of(&records);
        let texts = |list: [&str; 4]| Column::Texts(list.map(String::from).to_vec());
        let names: Vec<&str> = table.columns.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!((table.rows, names), (4, vec!["order", "seed", "loss", "extra", "mixed"]));
        let cells = |i: usize| &table.columns[i].1;
        assert_eq!(*cells(0), texts(["fixed", "fixed", "seeded", "seeded"]));
        assert_eq!(*cells(1), Column::Integers(vec![1, u64::MAX, 3, 4]));
        assert_eq!(*cells(2), Column::Numbers(vec![0.5; 4]));
        let Column::Numbers(extra) = cells(3) else { panic!("{:?}", cells(3)) };
        assert!(extra[0].is_nan() && extra[1] == 7.0);
        assert_eq!(*cells(4), texts(["", "", "x", "2.5"]));
        assert_eq!(Table::of(&[]), Table::default());
    }
}
