//! Whether a model fits the columns that feed it and the labels it answers with.

use tributary_protocol::{ColumnType, Contract};
use tributary_trainer::Graph;

/// Why it does not.
#[derive(Debug, thiserror::Error)]
pub enum Misfit {
    /// The input has another size.
    #[error("expected an input of {expected} ({column}), the model takes {got:?}")]
    Input {
        /// What the column gives.
        expected: String,
        /// The column.
        column: String,
        /// The model's input, one example.
        got: Vec<usize>,
    },
    /// The output has another size.
    #[error("expected an output for each of {expected} classes, the model gives {got:?}")]
    Output {
        /// The contract's classes.
        expected: u32,
        /// The model's output, one example.
        got: Vec<usize>,
    },
}

/// Refuses a model whose input is not what the contract's column gives, or whose output is not one number a class.
pub fn check(graph: &Graph, contract: &Contract) -> Result<(), Misfit> {
    let pipeline = &contract.document().pipeline;
    let Some(column) = contract
        .document()
        .datasets
        .first()
        .and_then(|dataset| dataset.columns.iter().find(|column| column.name == pipeline.input.column))
    else {
        unreachable!("a contract without datasets or columns is not parsed");
    };
    let got = graph.input_shape().to_vec();
    let (fits, expected) = match column.kind {
        ColumnType::ImageU8 { height, width, channels } => {
            let shape = [channels as usize, height as usize, width as usize];
            // A flat input takes the same bytes in the same order.
            let flat = [shape.iter().product()];
            (got == shape || got == flat, format!("{shape:?}"))
        }
        other => {
            let bytes = other.max_width();
            let product: u64 = got.iter().map(|&side| side as u64).product();
            (product == bytes, format!("{bytes} values"))
        }
    };
    if !fits {
        return Err(Misfit::Input { expected, column: column.name.to_string(), got });
    }
    let got = graph.output_shape().to_vec();
    let classes = pipeline.label.classes;
    if got != [classes as usize] {
        return Err(Misfit::Output { expected: classes, got });
    }
    Ok(())
}
