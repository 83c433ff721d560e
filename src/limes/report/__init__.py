"""Reports as self-contained HTML pages. The only package that plots."""

from limes.report.page import Card, Cards, Figure, Folded, Grid, Page, Section, Table, Text, write_page
from limes.report.transfer import transfer_page, write_transfer_report

__all__ = [
    "Card",
    "Cards",
    "Figure",
    "Folded",
    "Grid",
    "Page",
    "Section",
    "Table",
    "Text",
    "transfer_page",
    "write_page",
    "write_transfer_report",
]
