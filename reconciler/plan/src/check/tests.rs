//! Each test breaks one promise of a good plan, and only that one is reported.
