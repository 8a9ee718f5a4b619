"""Pages of one file each that need nothing else: charts that answer to pointer and keyboard, readable when printed."""
