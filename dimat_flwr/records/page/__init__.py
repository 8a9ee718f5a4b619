"""Pages of one file each that need nothing else: charts that answer to pointer and keyboard, readable when printed."""

from dimat_flwr.records.page.chart import Series, lines_chart, thinned
from dimat_flwr.records.page.document import PageParts, document, table

__all__ = ["PageParts", "Series", "document", "lines_chart", "table", "thinned"]
