package backup

// ReadWithin is Read with another limit.
var ReadWithin = read
