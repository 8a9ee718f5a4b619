"""One peer of five lies: whatever it sends, the others finish and the record stays true."""
