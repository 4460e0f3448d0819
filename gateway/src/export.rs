//! Exports: the catalogue and its stock as files that go in again, and as a feed for those who advertise it.
//!
//! Read page by page from the read models, by handle, so that an export of any size holds one page. What an export of
//! products writes an import takes: into an empty shop, and the export of that one is the same, byte for byte. Products
//! that are archived are gone for good and are left out, as the log has them.

mod feed;
mod pages;
mod product;
mod shape;
mod stock;

pub use feed::{Feed, FeedRequest};
pub use pages::CutOff;
pub use product::ProductFile;
pub use stock::StockFile;

/// Cells as CSV, one row after the other.
#[derive(Debug)]
pub struct Table {
    writer: csv::Writer<Vec<u8>>,
    /// Cells are as they are: a spreadsheet may take some for formulas.
    raw: bool,
}

impl Table {
    pub fn new(raw: bool) -> Self {
        Self { writer: csv::Writer::from_writer(Vec::new()), raw }
    }

    pub fn row<'c>(&mut self, cells: impl IntoIterator<Item = &'c str>) -> Result<(), CutOff> {
        for cell in cells {
            if self.raw {
                self.writer.write_field(cell)?;
            } else {
                self.writer.write_field(crate::import::escape(cell).as_ref())?;
            }
        }
        self.writer.write_record(None::<&[u8]>)?;
        Ok(())
    }

    /// What was written since the last time.
    pub fn take(&mut self) -> Result<Vec<u8>, CutOff> {
        let written = std::mem::replace(&mut self.writer, csv::Writer::from_writer(Vec::new()));
        written.into_inner().map_err(|_| CutOff::Table)
    }
}
