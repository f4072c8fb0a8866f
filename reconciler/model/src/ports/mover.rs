//! The port to what runs beside the data.
